"""The operator as a process of this machine, with the chart's defaults."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.outside import page, until
from tests.kube import ROOT, requests

_PORTS = itertools.count(18190)


class OperatorProcess:
    def __init__(self, log: Path) -> None:
        self._log, self._url = log, ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Raises TimeoutError where it does not come to lead."""
        self._process, self._url = self._launch()
        await until(f"the operator leads (its log: {self._log})", self._leads, 60)

    async def fail_over(self, patience: float) -> float:
        """Another one stands by, and takes this one's place when it is killed: seconds until it leads and has nothing to do."""
        standby, url = self._launch()
        await until("the standby is there", lambda: "paceline_leader 0.0" in page(url), 60)
        self.stop(signal.SIGKILL)
        began = time.monotonic()
        self._process, self._url = standby, url
        await until("the standby leads", self._leads, patience)
        await until("the queue is empty", self.idle, patience)
        return time.monotonic() - began

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)

    def idle(self) -> bool:
        return "paceline_workqueue_depth 0.0" in page(self._url)

    def asked(self) -> dict[str, int]:
        """Its requests since it was started, by verb. The lease's are among them: a GET and a PUT in some seconds."""
        return requests(self._url)

    def _leads(self) -> bool:
        return "paceline_leader 1.0" in page(self._url)

    def _launch(self) -> tuple[subprocess.Popen[bytes], str]:
        port = next(_PORTS)
        command = [
            sys.executable,
            "-m",
            "paceline",
            "operator",
            "--trainer-image=trainer:1",
            "--job-disruption-budgets",
        ]
        command += [f"--metrics-port={port}", "--log-format=text", f"--identity=bench-{port}"]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        return process, f"http://127.0.0.1:{port}/metrics"

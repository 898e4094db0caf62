"""The operator as a process of this machine, with the chart's defaults."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.outside import page, until
from tests.kube import ROOT, requests

_PORTS = itertools.count(18190)
T = TypeVar("T")


class OperatorProcess:
    def __init__(
        self, log: Path, kubeconfig: Path | None = None, flags: Sequence[str] = (), source: Path = ROOT
    ) -> None:
        """``kubeconfig``: its way to the API server, where it is not the bench's own; ``flags``: more than the chart sets;
        ``source``: the checkout that it is of."""
        self._log, self._kubeconfig, self._flags, self._source = log, kubeconfig, flags, source
        self._url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Returns at once."""
        port = next(_PORTS)
        command = [sys.executable, "-m", "paceline", "operator", "--trainer-image=trainer:1"]
        command += ["--job-disruption-budgets", f"--metrics-port={port}", "--log-format=text"]
        command += [f"--identity=bench-{port}", *self._flags]
        env = {**os.environ, "PYTHONPATH": str(self._source / "operator")}
        if self._kubeconfig is not None:
            env["KUBECONFIG"] = str(self._kubeconfig)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        self._url = f"http://127.0.0.1:{port}/metrics"

    async def start(self) -> None:
        """Raises TimeoutError where it does not come to lead, RuntimeError where it ends."""
        self.launch()
        await self.during(until(f"the operator leads (its log: {self._log})", self.leads, 60))

    async def stand_by(self) -> None:
        """Raises TimeoutError where it does not come up beside the one that leads."""
        self.launch()
        await until("the standby is there", lambda: "paceline_leader 0.0" in self._own_page(), 60)

    async def fail_over(self, jobs: int, patience: float) -> float:
        """Another one stands by, and takes this one's place when it is killed: seconds until it has caught up with the jobs."""
        standby = OperatorProcess(self._log, self._kubeconfig, self._flags, self._source)
        await standby.stand_by()
        self.stop(signal.SIGKILL)
        began = time.monotonic()
        self._process, self._url = standby._process, standby._url
        await until("the queue is empty", lambda: self.has_caught_up(jobs), patience, pause=0.1)
        return time.monotonic() - began

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work comes to. Raises RuntimeError where the operator ends before it: what it waits for never comes then."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                if self.ended():
                    raise RuntimeError("the operator has ended")
                await asyncio.wait({task}, timeout=1)
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})  # it takes what it has made away

    def leads(self) -> bool:
        return "paceline_leader 1.0" in self._own_page()

    def idle(self) -> bool:
        return "paceline_workqueue_depth 0.0" in self._own_page()

    def has_caught_up(self, jobs: int) -> bool:
        """Has it looked at so many since it started, and nothing more to do? The queue is empty before it has read them, too."""
        return self.looks() >= jobs and self.idle()

    def asked(self) -> dict[str, int]:
        """Its requests since it was started, by verb. The lease's are among them: a GET and a PUT in some seconds."""
        return requests(self._own_page())

    def refused(self) -> int:
        """How often the API server has told it that it asks too much (429)."""
        return self._sum(r'paceline_api_requests_total\{code="429".*\}')

    def looks(self) -> int:
        """How often it has looked at a job."""
        return self._sum(r"paceline_reconcile_total\{.*\}")

    def _sum(self, series: str) -> int:
        return sum(int(float(n)) for n in re.findall(rf"^{series} (\S+)$", self._own_page(), re.MULTILINE))

    def page(self) -> str:
        """The metrics page; empty while the process does not serve it."""
        return page(self._url)

    def _own_page(self) -> str:
        """Without the series of jobs, which take it a second where there are 5,000. A revision that is compared may be older
        than that page."""
        return page(f"{self._url}/operator") or self.page()

"""A peer's controller manager as a process of this machine, in the network of the API server."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.outside import page, until
from devcluster import paths
from devcluster.programs import program
from tests.kube import kubectl

FOLDER = paths.STATE / "peers"


class Manager:
    def __init__(
        self, name: str, arguments: Sequence[str], health_port: int, lease: tuple[str, str] | None = None
    ) -> None:
        """``lease``: the namespace and name of the one that its replicas would share, where it elects a leader."""
        self._name, self._arguments, self._lease = name, arguments, lease
        self._health, self._log = f"http://127.0.0.1:{health_port}/readyz", FOLDER / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    async def start(self) -> None:
        """Raises TimeoutError, or RuntimeError where it ends."""
        if self._lease is not None:
            # One that was ended does not give it back, and the next would wait until it has run out.
            kubectl("delete", "lease", "-n", *self._lease, "--ignore-not-found")
        self._process = self._launch()
        await until(f"{self._name} is ready (its log: {self._log})", self._ready, 60, pause=0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [str(program(self._name)), *self._arguments]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            words = self._log.read_text("utf-8", errors="replace").splitlines()[-5:]
            raise RuntimeError("\n".join([f"{self._name} has ended:", *words]))
        return page(self._health).strip() == "ok"


def config_file(name: str, text: str) -> Path:
    path = FOLDER / name
    path.write_text(text, encoding="utf-8")
    return path

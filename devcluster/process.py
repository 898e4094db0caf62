"""Background processes by pid files that also hold the start time: a recycled pid is never taken for ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import paths


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (clock ticks since boot); None where there is no such process, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class Process:
    """A named background process of the cluster."""

    name: str

    @property
    def _file(self) -> Path:
        return paths.PIDS / self.name

    @property
    def log(self) -> Path:
        return paths.LOGS / f"{self.name}.log"

    def pid(self) -> int | None:
        """Its pid while it lives."""
        try:
            pid, started = self._file.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def started(self) -> float:
        """When it was started last, Unix seconds. Raises OSError where it never was."""
        return self._file.stat().st_mtime

    def command(self) -> list[str]:
        """Of the one that lives; empty where none does."""
        pid = self.pid()
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0") if pid else []
        except OSError:
            return []

    def start(self, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        """Detached, its output in the log; does nothing where it lives already."""
        if self.pid() is not None:
            return
        for folder in (paths.PIDS, paths.LOGS):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        self._file.write_text(f"{child.pid} {start_time(child.pid)}", encoding="utf-8")

    def stop(self, grace_seconds: float = 5.0) -> None:
        pid = self.pid()
        if pid is not None:
            end([pid], grace_seconds)
        self._file.unlink(missing_ok=True)


def end(pids: Iterable[int], grace_seconds: float = 5.0) -> None:
    """SIGTERM, then SIGKILL to those still there, and wait until they are gone."""
    ours = {pid: started for pid in pids if (started := start_time(pid)) is not None and pid != os.getpid()}
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        for pid in ours:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + seconds
        while ours and time.monotonic() < until:
            ours = {pid: started for pid, started in ours.items() if start_time(pid) == started}
            time.sleep(0.05)
        if not ours:
            return

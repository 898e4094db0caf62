"""Running programs, here or in a namespace of the cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster.console import ClusterError

CONTROL_PLANE_NETNS = "kcp"


def netns_path(name: str) -> Path:
    return Path("/run/netns") / name


def inside(netns: str) -> list[str]:
    """The prefix that runs a command in a network namespace. Not `ip netns exec`: that hides /sys/fs/cgroup."""
    return ["nsenter", f"--net={netns_path(netns)}"]


def run(
    *command: str | Path,
    check: bool = True,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Standard output of a command. Raises ClusterError with its last words where it fails (and ``check``)."""
    argv = [str(part) for part in command]
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
            timeout=timeout,
        )
    except FileNotFoundError:
        raise ClusterError(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(argv[:4])} … took longer than {timeout} s") from None
    if check and done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ClusterError(f"{' '.join(argv[:8])} failed with exit code {done.returncode}:\n{last}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    return subprocess.run([str(c) for c in command], capture_output=True, check=False).returncode == 0


def require(tools: Sequence[tuple[str, str]]) -> None:
    """Each (program, how to get it) must be there. Raises ClusterError."""
    missing = [f"{name}: {cure}" for name, cure in tools if shutil.which(name) is None]
    if missing:
        raise ClusterError("needed, and not found:\n  " + "\n  ".join(missing))

"""Programs of the trainer in processes that have torch and all else loaded already: they are forked, not started.

A process of torchrun's spends 4 s of CPU on imports, which is most of what a short run costs; a test of what a run computes need
not pay for them. What torchrun itself does (restarts, signals, rendezvous) is tested with torchrun.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LOADED = (
    "paceline_trainer.job",
    "paceline_trainer.recipes",
    "paceline_trainer.text.classification",
    "paceline_trainer.evaluation.report",
    "paceline_trainer.watching.tensorboard",
    "sklearn.datasets",
    "sklearn.metrics",
    "torch.distributed.elastic.multiprocessing.errors",
)


def run(
    program: list[str], processes: int, env: dict[str, str], seconds: float = 400
) -> subprocess.CompletedProcess[str]:
    """A script, or -m and a module, with its arguments, as one process or as the ranks that torchrun would start on one node.

    Once a rank has failed the others are killed, and the return code is its own. Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        store = _store() if processes > 1 else None
        ranks = [
            _server().Process(
                target=_program, args=(program, env | _rank(n, processes, store and store.port), str(out), str(err))
            )
            for n in range(processes)
        ]
        for rank in ranks:
            rank.start()
        ends = time.monotonic() + seconds
        try:
            while any(rank.is_alive() for rank in ranks) and not any(rank.exitcode for rank in ranks):
                if time.monotonic() > ends:
                    raise subprocess.TimeoutExpired(program, seconds, out.read_text("utf-8"), err.read_text("utf-8"))
                time.sleep(0.02)
        finally:
            _end(ranks)
        code = next((rank.exitcode for rank in ranks if rank.exitcode), 0)
        return subprocess.CompletedProcess(program, code, out.read_text("utf-8"), err.read_text("utf-8"))


@functools.cache
def _server() -> ForkServerContext:
    """Who forks; it is the environment at its start that says how many threads libraries have."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    before = dict(os.environ)
    root = Path(__file__).resolve().parent.parent.parent
    os.environ.update(PYTHONPATH=os.pathsep.join((str(root / "trainer_image"), str(root))), OMP_NUM_THREADS="1")
    try:
        ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _store() -> Any:
    """Where the ranks meet, as an agent of torchrun's has it."""
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _rank(rank: int, processes: int, port: int | None) -> dict[str, str]:
    """What torchrun tells a process; nothing where it runs alone."""
    if port is None:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _program(program: list[str], env: dict[str, str], out: str, err: str) -> None:
    """In the forked process."""
    os.environ.clear()
    os.environ.update(env)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path.insert(0, str(Path(program[0]).parent))
        runpy.run_path(program[0], run_name="__main__")


def _end(ranks: list[BaseProcess]) -> None:
    for rank in ranks:
        if rank.is_alive():
            rank.kill()
        rank.join()

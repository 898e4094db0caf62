"""The serving check: candidate and uncompressed model behind the same plain HTTP server, under the same load, in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.runtimes import Runtime
from paceline_trainer.compress.subject import Data
from paceline_trainer.compress.verify import TOLERANCE

# Turns of each model, as for latencies; and how many different requests there are.
TURNS, REQUESTS = 3, 32
START_SECONDS, END_SECONDS, LATE_SECONDS = 180.0, 10.0, 120.0
POLL_SECONDS = 2.0
WARM_UP_SECONDS = 0.5


@dataclass
class Served:
    """``seconds`` under load, and the ``milliseconds`` that each request took."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.milliseconds, share))


@contextmanager
def serving(arguments: list[str]) -> Iterator[int]:
    """A server process, and its port; it is gone afterwards, whatever happened. Raises CompressionError if it does not begin."""
    command = [sys.executable, "-m", "paceline_trainer.compress.server", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        # One that hangs is ended, and the read below with it.
        late = threading.Timer(START_SECONDS, process.kill)
        late.start()
        try:
            assert process.stdout is not None  # they are pipes
            words = next((line for line in process.stdout if line.startswith("port ")), "")
            late.cancel()
            if not words:
                raise CompressionError(f"the server of {' '.join(arguments)} did not begin to serve")
            yield int(words.split()[1])
        finally:
            late.cancel()
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def batches(path: Path, runtime: Runtime, data: Data, batch: int, tokens: int) -> None:
    """Writes requests of evaluation samples, and what ``runtime`` answers to each, for the client."""
    every = torch.split(data.example(batch * REQUESTS, tokens), batch)
    answers = [runtime(one).numpy() for one in every]
    np.savez(path, allow_pickle=False, inputs=torch.stack(every).numpy(), answers=np.stack(answers))


def loaded(port: int, path: Path, seconds: float, progress: Callable[[float], None], into: Served) -> None:
    """A client process for so many seconds. Raises CompressionError where an answer was wrong, or none came."""
    command = [sys.executable, "-m", "paceline_trainer.compress.client", "--port", str(port), "--batches", str(path)]
    command += ["--seconds", str(seconds), "--tolerance", str(TOLERANCE)]
    # It needs a core of its own, at most: numpy's threads would take others.
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(min(seconds, time.monotonic() - began))
                    if time.monotonic() - began > seconds + LATE_SECONDS:
                        raise CompressionError(
                            f"the client did not end within {LATE_SECONDS:g} s of its time"
                        ) from None
        finally:
            process.kill()
    if process.returncode:
        raise CompressionError(f"the client ended with {process.returncode}")
    found = json.loads(output)
    if found["errors"]:
        raise CompressionError(f"the served model did not answer rightly: {'; '.join(found['errors'])}")
    into.seconds += found["seconds"]
    into.milliseconds += found["milliseconds"]


def served_in_turns(
    models: dict[str, tuple[list[str], Path]], seconds: float, progress: Callable[[float, float], None]
) -> dict[str, Served]:
    """Each of the models, by name its server's arguments and its batches, under load for ``seconds`` in all, in turns. Raises
    CompressionError."""
    found = {name: Served() for name in models}
    ports = {}
    with ExitStack() as stack:
        for name, (arguments, path) in models.items():
            ports[name] = stack.enter_context(serving(arguments))
            loaded(ports[name], path, WARM_UP_SECONDS, lambda _: None, Served())
        total, done = seconds * len(models), 0.0
        for _ in range(TURNS):
            for name, (_, path) in models.items():
                loaded(ports[name], path, seconds / TURNS, partial(_further, progress, done, total), found[name])
                done += seconds / TURNS
                progress(done, total)
    return found


def _further(progress: Callable[[float, float], None], before: float, total: float, now: float) -> None:
    progress(before + now, total)

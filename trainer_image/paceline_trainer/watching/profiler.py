"""A profile of a few steps: what each operator takes, on CPU and GPU, as a trace for Perfetto or chrome://tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def profiled(
    folder: Path, rank: int, *, wait: int = 5, warmup: int = 2, active: int = 3
) -> Iterator[Callable[[], None]]:
    """Yields a function to call at the end of each step; writes ``folder``/trace-rank-N.json.gz.

    After ``wait`` steps and ``warmup`` more, whose figures the profiler's own start distorts, ``active`` steps are
    recorded, once. A run that ends amid them has what was recorded so far; one that ends before has no trace.
    """
    from torch.profiler import ProfilerActivity, profile, schedule

    folder.mkdir(parents=True, exist_ok=True)

    def write(done: profile) -> None:
        done.export_chrome_trace(str(folder / f"trace-rank-{rank}.json.gz"))

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    plan = schedule(wait=wait, warmup=warmup, active=active, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as running:
        yield running.step

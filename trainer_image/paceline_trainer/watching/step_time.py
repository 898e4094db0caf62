"""What a step's time goes to: data, computation, communication. A few steps are looked at by torch's profiler, the rest not.

Where it is asked for, the FLOPs of one more step are counted, by torch's FlopCounterMode.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.profiler import record_function

# The first steps of a process allocate memory and compile; then three in a row, and one from time to time.
FIRST, IN_A_ROW, EVERY = 6, 3, 1000
WHOLE, DATA, COMMUNICATION = "paceline::step", "paceline::data", "paceline::communication"
_COMMUNICATION = (COMMUNICATION, "c10d::", "_c10d_functional::", "gloo:", "nccl:", "ncclDevKernel", "ncclKernel")

Span = tuple[float, float]


@dataclass(frozen=True)
class StepTime:
    """Seconds of one process's step. ``communication`` is what no computation hides, and waiting for others is part of it;
    ``other`` is the rest: Python, launching, copies."""

    data: float
    computation: float
    communication: float
    other: float

    @property
    def total(self) -> float:
        return self.data + self.computation + self.communication + self.other

    def figures(self) -> dict[str, float]:
        """Shares of the step's time, by name."""
        total = self.total or 1.0
        return {
            "data_share": self.data / total,
            "computation_share": self.computation / total,
            "communication_share": self.communication / total,
        }

    def __str__(self) -> str:
        shares = ", ".join(f"{name.removesuffix('_share')} {share:.0%}" for name, share in self.figures().items())
        return f"a step takes {1000 * self.total:.1f} ms: {shares}, other {self.other / (self.total or 1.0):.0%}"


class StepTimes:
    """Of a run in one process; ``mean`` over the steps that were looked at, ``flops`` of a step; None before the first."""

    def __init__(self, *, enabled: bool, count_flops: bool = False) -> None:
        self._enabled, self._count_flops, self._steps = enabled, count_flops, 0
        self._seen: list[StepTime] = []
        self.mean: StepTime | None = None
        self.flops: int | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around each of a process's steps."""
        self._steps += 1
        if self._count_flops and self._steps == FIRST + IN_A_ROW:  # not in one that is timed: counting takes time
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                yield
            self.flops = counter.get_total_flops() or None
            return
        if not self._enabled or not (FIRST <= self._steps < FIRST + IN_A_ROW or self._steps % EVERY == 0):
            yield
            return
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        with profile(activities=activities, acc_events=True) as profiler, record_function(WHOLE):
            yield
        events = profiler.events() or []
        named = [(e.name, (e.time_range.start, e.time_range.end), e.device_type.name == "CUDA") for e in events]
        self._seen.append(split(named))
        names = ("data", "computation", "communication", "other")
        self.mean = StepTime(*(statistics.fmean(getattr(one, name) for one in self._seen) for name in names))


def split(events: Sequence[tuple[str, Span, bool]]) -> StepTime:
    """Of a profiled step: (name, (start, end) in microseconds, does it run on a GPU?).

    Where there are GPU kernels, computation is theirs; else that of torch's operators.
    """
    whole = next(span for name, span, _ in events if name == WHOLE)
    gpu = any(on_gpu for _, _, on_gpu in events)
    communicating = [span for name, span, _ in events if name.startswith(_COMMUNICATION)]
    loading = [span for name, span, on_gpu in events if name == DATA and not on_gpu]
    computing = [
        span
        for name, span, on_gpu in events
        if (on_gpu if gpu else name.startswith("aten::")) and not name.startswith((*_COMMUNICATION, "paceline::"))
    ]
    data = length(loading, whole)
    with_computation = length([*loading, *computing], whole)
    with_all = length([*loading, *computing, *communicating], whole)
    seconds = 1e-6
    return StepTime(
        data=data * seconds,
        computation=(with_computation - data) * seconds,
        communication=(with_all - with_computation) * seconds,
        other=(whole[1] - whole[0] - with_all) * seconds,
    )


def length(spans: Sequence[Span], within: Span) -> float:
    """Of the union of the spans, inside of one."""
    total, reached = 0.0, within[0]
    for start, end in sorted(spans):
        upto = min(end, within[1])
        total += max(0.0, upto - max(start, reached))
        reached = max(reached, upto)
    return total

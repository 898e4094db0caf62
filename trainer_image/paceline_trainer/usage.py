"""What a process has done with its devices. The loop leaves a reference here at each step, and no more: figures are made of it
by the threads that send reports and answer Prometheus."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal

import torch

from paceline_trainer.watching.devices import cores, peak_of
from paceline_trainer.watching.step_time import StepTimes

# Utilization is of this much of the last time, once there is at least the shortest.
WINDOW_SECONDS, SHORTEST_SECONDS = 60.0, 1.0

Spending = Literal["evaluation", "checkpoint"]


@dataclass(frozen=True)
class Counts:
    """How far a training is, over all processes and resumes; tokens are real ones, without padding; None: not known."""

    steps: int = 0
    samples: int = 0
    tokens: int | None = None

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        tokens = None if other.tokens is None else (self.tokens or 0) + sign * other.tokens
        return Counts(self.steps + sign * other.steps, self.samples + sign * other.samples, tokens)


@dataclass(frozen=True)
class Latest:
    """Of the newest step."""

    loss: float
    samples_per_second: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class _Spent:
    evaluation: float = 0.0
    checkpoint: float = 0.0
    # What time goes to now, and since when.
    on: Spending | None = None
    since: float = 0.0

    def by(self, now: float) -> _Spent:
        """Up to now."""
        if self.on is None:
            return self
        return replace(self, since=now, **{self.on: getattr(self, self.on) + now - self.since})


class Usage:
    """Of one process, from when this is made. ``latest``, ``times`` and ``follow()`` are the loop's to set."""

    def __init__(
        self,
        device: torch.device,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.device = device
        self.latest: Latest | None = None
        self.times: StepTimes | None = None
        self._processes = int(environ.get("LOCAL_WORLD_SIZE", "1"))
        self._clock, self._cpu = clock, cpu
        self._began = datetime.now(UTC)
        self._spent = _Spent()
        self._counts: Callable[[], Counts] | None = None
        self._earlier, self._not_here, self._most = Counts(), Counts(), Counts()
        self._lock = Lock()
        # (seconds, of which the process computed, steps), oldest first.
        self._marks: deque[tuple[float, float, int]] = deque([(clock(), cpu(), 0)])

    def follow(self, counts: Callable[[], Counts]) -> None:
        """From now on ``counts`` says how far the training is; what it says at once is of a run that this one goes on with. Of
        a further training of the same process (a fold) the sums go on."""
        with self._lock:
            self._earlier = self._in_all()
            self._counts = counts
            self._not_here = self._not_here.plus(counts())

    def counts(self) -> Counts:
        """In all, from before a resume too."""
        with self._lock:
            return self._in_all()

    def here(self) -> Counts:
        """By this process; steps that are made again, having been rolled back, are counted once."""
        with self._lock:
            now = self._in_all().plus(self._not_here, -1)
            self._most = max(self._most, now, key=lambda counts: counts.steps)
            return self._most

    def _in_all(self) -> Counts:
        return self._earlier if self._counts is None else self._earlier.plus(self._counts())

    @contextmanager
    def spending(self, on: Spending) -> Iterator[None]:
        """Around what training waits for."""
        before = self._spent.on
        self.spend(on)
        try:
            yield
        finally:
            self.spend(before)

    def spend(self, on: Spending | None) -> None:
        """From now on; None: training."""
        if on != self._spent.on:
            now = self._clock()
            self._spent = replace(self._spent.by(now), on=on, since=now)

    def figures(self) -> dict[str, Any]:
        """What a report says, for one thread to ask; what is not known is absent."""
        counts, spent = self.counts(), self._spent.by(self._clock())
        found: dict[str, Any] = {
            "since": self._began.isoformat(timespec="seconds"),
            "evaluationSeconds": round(spent.evaluation, 3),
            "checkpointSeconds": round(spent.checkpoint, 3),
        }
        if self._counts is not None:
            found["samples"] = counts.samples
            if counts.tokens is not None:
                found["tokens"] = counts.tokens
        return found | self._utilization(counts.steps)

    def _utilization(self, steps: int) -> dict[str, Any]:
        now = self._clock(), self._cpu(), steps
        while len(self._marks) > 1 and now[0] - self._marks[1][0] >= WINDOW_SECONDS:
            self._marks.popleft()
        self._marks.append(now)
        seconds, computed, made = (new - old for new, old in zip(now, self._marks[0], strict=True))
        if self.device.type == "cuda":
            return self._of_a_gpu(seconds, made)
        if seconds < SHORTEST_SECONDS:
            return {}
        share = computed / (seconds * cores() / self._processes)
        return {"utilization": round(min(1.0, share), 4), "of": "CPU time of rank 0's cores"}

    def _of_a_gpu(self, seconds: float, steps: float) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.times is None or self.times.mean is None:
            return found
        share = self.times.mean.figures()["computation_share"]
        found |= {"utilization": round(share, 4), "of": "computation share of a step"}
        share_of_peak = mfu(self.times.flops, steps, seconds, peak_of(self.device))
        return found if share_of_peak is None else found | {"mfu": round(share_of_peak, 4)}


def mfu(flops: int | None, steps: float, seconds: float, peak: float | None) -> float | None:
    """Model FLOPs utilization (Chowdhery et al. 2022): ``flops`` of a step, times the ``steps`` that ``seconds`` had, over what
    the device could do at its ``peak`` meanwhile, 0 to 1; None where either is unknown."""
    if flops is None or peak is None or steps <= 0 or seconds < SHORTEST_SECONDS:
        return None
    return min(1.0, flops * steps / (seconds * peak))

"""Latency of several models in one process, in turns: what slows the machine down for a while slows all of them down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ROUNDS = 8
# Runs of each model that are not timed: first of all, where a runtime allocates and plans, and at each turn, where caches are
# another's.
WARM_UP, TURN = 20, 3


@dataclass(frozen=True)
class Latency:
    """Milliseconds of each run, round by round."""

    rounds: tuple[tuple[float, ...], ...]

    def percentile(self, share: float) -> float:
        return float(np.percentile(np.concatenate(self.rounds), share))

    @property
    def mean(self) -> float:
        return float(np.concatenate(self.rounds).mean())

    @property
    def spread(self) -> float:
        """How far the middle half of the rounds' medians are apart: a round that something disturbed does not count."""
        upper, lower = np.percentile([float(np.median(one)) for one in self.rounds], [75, 25])
        return float(upper - lower)


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    count: int,
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> dict[str, Latency]:
    """Times each of ``runs`` at least ``count`` times, in so many rounds in each of which every one has its turn, and another
    one is the first."""
    each = math.ceil(count / rounds)
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(_turn(runs[name], each, clock))
        progress(number + 1, rounds)
    return {name: Latency(tuple(found)) for name, found in times.items()}


def _turn(run: Callable[[], object], count: int, clock: Callable[[], float]) -> tuple[float, ...]:
    for _ in range(TURN):
        run()
    found = []
    for _ in range(count):
        began = clock()
        run()
        found.append(1000 * (clock() - began))
    return tuple(found)

"""Learning rates over a run: linear warm-up, then constant, cosine, linear or step.

A schedule is a function of the step alone, so a resumed run needs nothing but its step. It fits ``LambdaLR`` as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer

SCHEDULES = ("constant", "cosine", "linear", "step")


def schedule(
    kind: str,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    floor: float = 0.0,
    every: int = 1,
    gamma: float = 0.1,
) -> Callable[[int], float]:
    """The factor of the base rate at each step, from 0 on; from ``total_steps`` on it stays as it is there.

    ``warmup_steps``: the factor rises in a line from 0 to 1, as transformers' ``get_*_schedule_with_warmup`` have it.
    ``floor``: where cosine and linear end. ``every`` and ``gamma``: the factor of ``step`` is multiplied by gamma each
    so many steps after the warm-up. Raises ValueError for an unknown kind, or a warm-up longer than the run.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"schedule: must be one of {', '.join(SCHEDULES)}, not {kind!r}")
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps: must be between 0 and the run's {total_steps} steps, not {warmup_steps}")
    if every < 1:
        raise ValueError(f"every: must be at least 1 step, not {every}")

    # A plain function: LambdaLR would save a callable object's fields and put them back over changed ones at a resume.
    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        if kind == "constant":
            return 1.0
        since = min(step, total_steps) - warmup_steps
        if kind == "step":
            return float(gamma ** (since // every))
        progress = since / max(1, total_steps - warmup_steps)
        shape = 0.5 * (1 + math.cos(math.pi * progress)) if kind == "cosine" else 1 - progress
        return floor + (1 - floor) * shape

    return factor


class Rates:
    """Sets an optimizer's rates by step, whatever a checkpoint has put there: each group's base times the factor."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        """Takes the base rates from the optimizer as it is now: made before a checkpoint is loaded into it."""
        self._optimizer, self._factor = optimizer, factor
        self._bases = [float(group["lr"]) for group in optimizer.param_groups]

    def set(self, step: int) -> float:
        """Before the optimizer's step number ``step``, from 0. Returns the first group's rate, for the log."""
        for group, base in zip(self._optimizer.param_groups, self._bases, strict=True):
            group["lr"] = base * self._factor(step)
        return float(self._optimizer.param_groups[0]["lr"])

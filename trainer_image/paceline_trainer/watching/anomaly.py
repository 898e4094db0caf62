"""Tells a run that has gone wrong from one that is only noisy: NaN, a loss spike, an exploding gradient.

The detector sees only what is the same in every process (loss of the global batch, global gradient norm), so every
process decides the same without a message. What it answers is a decision; acting on it is the loop's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np


class Action(Enum):
    """What to do about an anomaly: end the run, leave this step out, or go back to the newest checkpoint."""

    STOP = "stop"
    SKIP = "skip"
    ROLL_BACK = "roll-back"


class Kind(Enum):
    NOT_FINITE = "not-finite"
    SPIKE = "spike"
    EXPLOSION = "explosion"


@dataclass(frozen=True)
class Anomaly:
    """``because`` is for the log: the figure, and what it was measured against."""

    kind: Kind
    action: Action
    because: str


class AnomalyError(RuntimeError):
    """A step went wrong; the message says how, ``anomaly`` what was to be done about it."""

    def __init__(self, anomaly: Anomaly) -> None:
        super().__init__(anomaly.because)
        self.anomaly = anomaly


# A normal distribution's standard deviation in terms of its median absolute deviation: 1 / Φ⁻¹(3/4).
_DEVIATION_OF_MAD = 1.4826


class Detector:
    """Asked once a step, after the gradients are there and before the optimizer's step.

    Not finite: a loss or gradient norm that is NaN or infinite. Spike: a loss more than ``spike`` robust standard
    deviations (median absolute deviation × 1.4826) above the median of the last ``window`` losses, and more than a
    tenth of that median above it: where losses hardly vary, a harmless difference is many deviations. Explosion: a
    gradient norm more than ``explosion`` times the 0.9 quantile of the last ``window`` norms. The latter two need
    ``warmup`` steps first, and are never found where their limit is infinite. An anomalous step does not enter the
    windows; but after ``limit`` in a row, the run is stopped whatever the action: no step is left that could make it
    better.
    """

    def __init__(
        self,
        action: Action,
        *,
        window: int = 100,
        warmup: int = 20,
        spike: float = 10.0,
        explosion: float = 10.0,
        limit: int = 10,
    ) -> None:
        if not 2 <= warmup <= window:
            raise ValueError(f"warmup: must be between 2 and the window's {window} steps, not {warmup}")
        self.action, self.warmup, self.spike, self.explosion, self.limit = action, warmup, spike, explosion, limit
        self._losses: deque[float] = deque(maxlen=window)
        self._norms: deque[float] = deque(maxlen=window)
        self._in_a_row = 0

    def check(self, step: int, loss: float, norm: float | None = None) -> Anomaly | None:
        """``loss``: mean over the global batch; ``norm``: the global gradient norm before clipping, where it is known.

        Under fp16 an infinite norm is the loss scale's to mend, now and then: give None for it.
        """
        found = self._not_finite(loss, norm) or self._spike(loss) or self._explosion(norm)
        if found is None:
            self._in_a_row = 0
            self._losses.append(loss)
            if norm is not None:
                self._norms.append(norm)
            return None
        self._in_a_row += 1
        kind, because = found
        because = f"step {step}: {because}"
        if self._in_a_row > self.limit:
            return Anomaly(
                kind, Action.STOP, f"{because}; the {self._in_a_row}th anomaly in a row, so the run is stopped"
            )
        return Anomaly(kind, self.action, because)

    def _not_finite(self, loss: float, norm: float | None) -> tuple[Kind, str] | None:
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if value is not None and not math.isfinite(value):
                return Kind.NOT_FINITE, f"{name} is {value}"
        return None

    def _spike(self, loss: float) -> tuple[Kind, str] | None:
        if self.spike == math.inf or len(self._losses) < self.warmup:
            return None
        losses = np.asarray(self._losses)
        median = float(np.median(losses))
        deviation = _DEVIATION_OF_MAD * float(np.median(np.abs(losses - median)))
        above = loss - median
        if above <= self.spike * deviation or above <= 0.1 * abs(median):
            return None
        return Kind.SPIKE, (
            f"loss {loss:.4g} is {above:.4g} above the median {median:.4g} of the last {len(losses)} steps, "
            f"whose robust standard deviation is {deviation:.4g} (limit: {self.spike:g} of them)"
        )

    def _explosion(self, norm: float | None) -> tuple[Kind, str] | None:
        if norm is None or self.explosion == math.inf or len(self._norms) < self.warmup:
            return None
        usual = float(np.quantile(np.asarray(self._norms), 0.9))
        if norm <= self.explosion * usual:
            return None
        return Kind.EXPLOSION, (
            f"gradient norm {norm:.4g} is more than {self.explosion:g} times {usual:.4g}, "
            f"the 0.9 quantile of the last {len(self._norms)} steps"
        )

    def state_dict(self) -> dict[str, Any]:
        """The windows and the count; thresholds are the run's parameters, which may be changed at a resume."""
        return {"losses": list(self._losses), "norms": list(self._norms), "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._refill(self._losses, state["losses"])
        self._refill(self._norms, state["norms"])
        self._in_a_row = int(state["in_a_row"])

    @staticmethod
    def _refill(window: deque[float], values: Iterable[float]) -> None:
        window.clear()
        window.extend(values)

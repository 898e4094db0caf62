"""One update of the weights: rate, precision, clipping, and a look at whether the step went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from paceline_trainer.optimization.clipping import clip_by_norm, clip_by_value, gradient_norm
from paceline_trainer.optimization.plan import Optimization
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.optimization.schedules import Rates, schedule
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.watching.anomaly import Action, Anomaly, Detector


@dataclass(frozen=True)
class Updated:
    """``norm`` is the global gradient norm before clipping, where anything asked for it; ``anomaly`` what was found."""

    rate: float
    norm: float | None = None
    anomaly: Anomaly | None = None


class Update:
    """Of a run: made before a checkpoint is loaded, so that the rates are those of the parameters."""

    def __init__(self, params: Optimization, optimizer: Optimizer, total_steps: int, precision: Precision) -> None:
        """Raises ValueError for a warm-up that is longer than the run."""
        self._params, self._optimizer, self._precision = params, optimizer, precision
        factor = schedule(
            params.schedule,
            total_steps=total_steps,
            warmup_steps=params.warmup_steps,
            floor=params.lr_floor,
            every=params.lr_every,
            gamma=params.lr_gamma,
        )
        self._rates = Rates(optimizer, factor)
        self._detector = Detector(
            Action(params.on_anomaly), spike=params.spike or math.inf, explosion=params.explosion or math.inf
        )

    def apply(self, spread: Spread, step: int, loss: float) -> Updated:
        """After backward; ``step`` counts from 1, ``loss`` is the mean over the global batch. All processes call it together.

        A step that went wrong leaves the weights as they are.
        """
        rate = self._rates.set(step - 1)
        self._precision.unscale(self._optimizer)
        norm = self._clipped(spread)
        # An fp16 gradient that is not finite is the loss scale's to mend: such a step is left out by the scaler.
        seen = None if self._params.precision == "fp16" and norm is not None and not math.isfinite(norm) else norm
        if spread.alone:  # replicas would judge differently by norms of their own
            seen = None
        anomaly = self._detector.check(step, loss, seen)
        if anomaly is None:
            self._precision.step(self._optimizer)
        else:
            self._precision.leave_out()
        return Updated(rate, norm, anomaly)

    def _clipped(self, spread: Spread) -> float | None:
        parameters, stages = spread.model.parameters(), spread.stages
        if self._params.clip_norm:
            return clip_by_norm(parameters, self._params.clip_norm, stages)
        if self._params.clip_value:
            return clip_by_value(parameters, self._params.clip_value, stages)
        return gradient_norm(parameters, stages) if self._params.explosion else None

    def state_dict(self) -> dict[str, Any]:
        return {"precision": self._precision.state_dict(), "detector": self._detector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._precision.load_state_dict(state["precision"])
        self._detector.load_state_dict(state["detector"])

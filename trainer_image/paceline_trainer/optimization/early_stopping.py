"""Ends a run that no longer gets better, and gives back the weights of when it was best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

from paceline_trainer.task import Arrays, Task, stratified_split

KEPT_BACK, KEPT_BACK_SEED = 0.1, 2027
MODES = ("min", "max")


@dataclass
class EarlyStopping:
    """Stops after ``patience`` evaluations in a row without one better than the best by more than ``min_delta``.

    ``mode``: is a lower ("min") or a higher ("max") value better? The exact evaluation gives every process the same
    values, so every process decides the same.
    """

    patience: int
    min_delta: float = 0.0
    mode: str = "min"
    best: float | None = None
    best_step: int | None = None
    without_gain: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: must be one of {', '.join(MODES)}, not {self.mode!r}")
        if self.patience < 1 or self.min_delta < 0:
            raise ValueError("patience must be at least 1 evaluation, and min_delta not negative")

    def update(self, value: float, step: int) -> bool:
        """Takes an evaluation's value; was it the best so far? NaN never is."""
        gain = math.inf if self.best is None else (value - self.best) * (1 if self.mode == "max" else -1)
        better = not math.isnan(value) and gain > self.min_delta
        if better:
            self.best, self.best_step, self.without_gain = value, step, 0
        else:
            self.without_gain += 1
        return better

    @property
    def stop(self) -> bool:
        return self.without_gain >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What was seen; patience and the rest are the run's parameters, which may be changed at a resume."""
        return {"best": self.best, "best_step": self.best_step, "without_gain": self.without_gain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_step, self.without_gain = state["best"], state["best_step"], state["without_gain"]


class BestWeights:
    """A copy of a model's weights and buffers on the CPU; of a sharded model, each process keeps its own shards."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def keep(self, model: nn.Module) -> None:
        """All processes call it together. Costs the model's (or the shards') size in main memory."""
        state = get_model_state_dict(model)
        # A CPU tensor's .cpu() is the tensor itself, which training would go on changing.
        self.weights = {name: cast("Tensor", value).detach().cpu().clone() for name, value in state.items()}

    def restore(self, model: nn.Module) -> None:
        """Into the model that they came from, or one spread the same way. Raises ValueError before any ``keep``."""
        if not self.weights:
            raise ValueError("no weights were kept yet")
        set_model_state_dict(model, dict(self.weights))

    def state_dict(self) -> dict[str, Tensor]:
        """Named as the model's own, and sharded as it is, as torch.distributed.checkpoint takes it."""
        return dict(self.weights)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.weights = dict(state)


def kept_back(data: Arrays, task: Task) -> tuple[Arrays, Arrays]:
    """(what is left to train on, a tenth for the decision when to stop); always the same, and stratified by class."""
    if task.classes:
        rest, some = stratified_split(data.targets, KEPT_BACK, KEPT_BACK_SEED)
    else:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(KEPT_BACK_SEED))
        some, rest = order.tensor_split([round(len(data) * KEPT_BACK)])
    return data[rest], data[some]

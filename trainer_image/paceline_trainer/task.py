"""What a recipe must say of itself; the loop does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline_trainer.distributed import World
from paceline_trainer.recipes import Training
from paceline_trainer.text.adversarial import Attack


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: inputs (N, …) and targets (N, …), index by index.

    ``lengths`` (N,), of samples that are padded: those of similar length come in the same batch.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    # (N,): which samples of the whole data set these are, where the task wants to know.
    origins: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, indices: Tensor) -> Arrays:
        rest = (None if part is None else part[indices] for part in (self.lengths, self.origins))
        return Arrays(self.inputs[indices], self.targets[indices], *rest)

    def __add__(self, others: Arrays) -> Arrays:
        """These samples, and the others behind them; those that are padded (with 0) to the longer of both."""
        parts = [self.inputs, others.inputs]
        if self.lengths is not None:
            width = max(part.shape[1] for part in parts)
            parts = [F.pad(part, (0, width - part.shape[1])) for part in parts]
        rest = (
            None if one is None or other is None else torch.cat([one, other])
            for one, other in ((self.lengths, others.lengths), (self.origins, others.origins))
        )
        return Arrays(torch.cat(parts), torch.cat([self.targets, others.targets]), *rest)


@dataclass(frozen=True)
class Evaluation:
    """Figures on the evaluation split, each finite; ``details`` are tables for the report, as JSON has them."""

    metrics: dict[str, float]
    details: dict[str, Any]


class Task(ABC):
    """A model, its data and its loss. Constructed in every process, with the same seed.

    ``classes``: of a classifier, whose outputs are logits (B, C) and whose targets indices (B,); none of a regression, whose
    outputs and targets are (B,).
    """

    dataset: str
    classes: tuple[str, ...] = ()

    @abstractmethod
    def __init__(self, params: Training) -> None: ...

    @abstractmethod
    def splits(self) -> tuple[Arrays, Arrays]:
        """(training, evaluation); the same in every process, and all call it together."""

    @abstractmethod
    def model(self, total_steps: int = 1) -> nn.Module:
        """A fresh one, for a run of so many steps, which matters only where something is given out over a run."""

    def begun(self, total_steps: int) -> nn.Module:
        """The model that a training begins with; the same in every process. Saved, it is one of ``model()`` again."""
        return self.model(total_steps)

    def spread(self, model: nn.Module) -> None:
        """Told of the model as this process holds it, before a checkpoint is loaded."""

    def training(self, data: Arrays, world: World, say: Callable[[str], None]) -> Arrays:
        """What is trained on, of the training split's samples. All processes call it together."""
        return data

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each sample, shape (B,)."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """What is trained, as an optimizer takes it."""
        return [{"params": list(model.parameters())}]

    def batch(self, data: Arrays, indices: Tensor, partners: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of these samples (B,) to be trained on, augmented where that is asked for; ``partners`` (B,) are
        others of the same step. The same whatever the number of processes; ``epoch`` counts from 0, ``step`` from 1."""
        return data.inputs[indices], data.targets[indices]

    def tokens(self, data: Arrays) -> Tensor | None:
        """Of each sample (N,), without padding; None where they are not made of tokens, or of how many is not known before."""
        return None

    def attacked(self, model: nn.Module, inputs: Tensor, targets: Tensor, indices: Tensor, epoch: int) -> Tensor | None:
        """These inputs as an adversary would change them, to be trained on beside them; None where that is not asked for.
        ``model`` is the bare one."""
        return None

    def embedding_attack(self, model: nn.Module) -> tuple[nn.Module, Attack] | None:
        """An embedding in ``model``, and how every pass attacks what it gives; None where that is not asked for."""
        return None

    def before_update(self) -> None:
        """After backward; may change gradients. The same in every process."""

    def after_update(self, step: int) -> None:
        """After the weights were updated, with the step's gradients still there; ``step`` counts from 1."""

    def finish(self, model: nn.Module) -> None:
        """Makes of a model that is trained, in place, the one that is saved."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep beside weights and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From ``state_dict()`` of the same task."""


def stratified_split(labels: Tensor, share: float, seed: int, least: int = 0) -> tuple[Tensor, Tensor]:
    """Indices (train, evaluation) with ``share`` of every class (rounded, and ``least`` at least) in the evaluation split."""
    generator = torch.Generator().manual_seed(seed)
    held_out = []
    for label in torch.unique(labels):
        members = torch.nonzero(labels == label).flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        held_out.append(order[: max(least, round(len(members) * share))])
    evaluation = torch.cat(held_out).sort().values
    mask = torch.ones(len(labels), dtype=torch.bool)
    mask[evaluation] = False
    return torch.nonzero(mask).flatten(), evaluation

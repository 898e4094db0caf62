"""What the classifying recipes have in common: what a model begins with, and what it learns from beside labels."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline_trainer import fake_quantization
from paceline_trainer.distillation import UNLABELLED, Mixture, pseudo_labels, together
from paceline_trainer.distributed import World
from paceline_trainer.loaded import Loaded, ModelError
from paceline_trainer.recipes import Classification, Training
from paceline_trainer.sparsity import Zeros
from paceline_trainer.starting import teacher
from paceline_trainer.task import Arrays, Task, stratified_split

# Which labels are used never depends on the run's seed: figures of different runs stay comparable.
LABELLED_SEED = 2028


class ClassifyingTask(Task):
    """Targets of a run with a teacher are as in distillation.Mixture, of evaluation and of any other run classes (B,)."""

    # Of the teacher's and the student's features, which are compared; none where they have none.
    features = 0

    def __init__(self, params: Training) -> None:
        assert isinstance(params, Classification)
        self._shared = params
        self._zeros: Zeros | None = None
        self._rounds = False
        self._unlabelled: Arrays | None = None

    @abstractmethod
    def fresh(self, total_steps: int) -> nn.Module:
        """The model that a training begins with, before it is told to round."""

    @abstractmethod
    def answers(self, teacher: Loaded, data: Arrays) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor | None]:
        """How the teacher makes logits and features (B, C + features) of its inputs (B, …), these inputs of ``data`` without
        augmentation, and their lengths (N,) where they are texts."""

    def unlabelled(self) -> Arrays:
        """What may be trained on without a label, as splits() have it; call them first."""
        assert self._unlabelled is not None
        return self._unlabelled

    def use_labels(self, data: Arrays) -> Arrays:
        """The part of a training split whose labels are used; the rest is kept as unlabelled."""
        rest, chosen = stratified_split(data.targets, self._shared.labelled, LABELLED_SEED, least=1)
        self._unlabelled = data[rest]
        return data[chosen]

    def begun(self, total_steps: int) -> nn.Module:
        model = self.fresh(total_steps)
        if self._shared.quantization_aware != "none":
            fake_quantization.prepare(model, self._shared.quantization_aware)
            self._rounds = True
        return model

    def spread(self, model: nn.Module) -> None:
        self._zeros = Zeros(model) if self._shared.keep_zeros else None

    def after_update(self, step: int) -> None:
        if self._zeros is not None:
            self._zeros.restore()

    def finish(self, model: nn.Module) -> None:
        if self._rounds:
            fake_quantization.plain(model)

    @property
    def mixture(self) -> Mixture:
        return Mixture(len(self.classes), self._shared.alpha, self._shared.temperature)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._shared.teacher and targets.ndim > 1:
            return self.mixture.losses(outputs, targets)
        return F.cross_entropy(outputs, targets, reduction="none")

    def training(self, data: Arrays, world: World, say: Callable[[str], None]) -> Arrays:
        """Raises ModelError where there is no such teacher."""
        if not self._shared.teacher:
            return data
        began, labelled = time.monotonic(), len(data)
        read = teacher(self._shared)
        data = data + self.unlabelled()
        compute, inputs, lengths = self.answers(read, data)
        read.model.to(world.device)
        width = len(self.classes) + self.features
        try:
            answers = together(compute, inputs, lengths, width, world.device)
        except ValueError as error:
            raise ModelError(f"teacher: {error}: its encoder was made narrower; set hidden to 0") from error
        say(f"teacher: {len(data)} samples read in {time.monotonic() - began:.1f} s")
        return self._taught(data, labelled, answers, say)

    def _taught(self, data: Arrays, labelled: int, answers: Tensor, say: Callable[[str], None]) -> Arrays:
        """With targets of labels, pseudo-labels and answers (N, C + features); of the first ``labelled`` the labels are used."""
        pseudo = pseudo_labels(answers[labelled:, : len(self.classes)], self._shared.confidence)
        classes = torch.cat([data.targets[:labelled], pseudo.classes])
        targets = torch.cat([classes.unsqueeze(1).to(answers.dtype), answers], 1)
        used = torch.ones(len(data), dtype=torch.bool)
        if not self.mixture.uses_unlabelled:
            used = classes != UNLABELLED
        if len(data) > labelled:
            rest = "learned from by soft targets alone" if self.mixture.uses_unlabelled else "left out"
            say(f"teacher: {pseudo.sure} unlabelled samples are given its class, {pseudo.unsure} are {rest}")
        return Arrays(data.inputs, targets, data.lengths, data.origins)[used.nonzero().flatten()]

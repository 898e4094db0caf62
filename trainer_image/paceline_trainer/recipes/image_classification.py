"""A 28×28 ten-class CNN on scikit-learn's digits.

python -m paceline_trainer.run --recipe image-classification
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe image-classification --params '{"epochs": 6}'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from paceline_trainer.adversarial import fgsm, pgd
from paceline_trainer.augment_images import augment, mixup, mixup_share, mixup_targets, randoms
from paceline_trainer.classifying import ClassifyingTask
from paceline_trainer.data import packaged
from paceline_trainer.loaded import Loaded
from paceline_trainer.recipes import ImageClassification, Training
from paceline_trainer.starting import give, weights
from paceline_trainer.task import Arrays, stratified_split

CLASSES = 10
SIDE = 28
# The split never depends on the run's seed: figures of different runs stay comparable.
SPLIT_SEED, EVALUATION_SHARE = 2026, 0.2


class Cnn(nn.Module):
    """Two convolutions and two linear layers; no batch norm, so that the result does not depend on how data is split."""

    # How the linear layers can be divided over processes.
    tensor_plan: ClassVar = {"layers.hidden.0": "columns", "layers.out": "rows"}

    def __init__(self, width: int) -> None:
        super().__init__()
        features = 2 * width * (SIDE // 4) ** 2
        self.layers = nn.ModuleDict(
            {
                "conv1": nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
                "conv2": nn.Sequential(
                    nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
                ),
                "hidden": nn.Sequential(nn.Linear(features, 128), nn.ReLU()),
                "out": nn.Linear(128, CLASSES),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> logits (B, 10); with some of the layers only, what comes out of the last of them."""
        for layer in self.layers.values():
            x = layer(x)
        return x


class ImageClassificationTask(ClassifyingTask):
    dataset = "scikit-learn digits, scaled to 28×28"
    classes = tuple(str(digit) for digit in range(CLASSES))

    def __init__(self, params: Training) -> None:
        assert isinstance(params, ImageClassification)
        super().__init__(params)
        self._params = params

    def splits(self) -> tuple[Arrays, Arrays]:
        digits = packaged("digits.csv.gz", delimiter=",")  # 64 pixels of 0 to 16, and the label
        images = digits[:, :-1].float().reshape(-1, 1, 8, 8) / 16.0
        images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        labels = digits[:, -1].long()
        train, held_out = stratified_split(labels, EVALUATION_SHARE, SPLIT_SEED)
        return self.use_labels(Arrays(images[train], labels[train])), Arrays(images[held_out], labels[held_out])

    def model(self, total_steps: int = 1) -> nn.Module:
        return Cnn(self._params.width)

    def fresh(self, total_steps: int) -> nn.Module:
        model = self.model(total_steps)
        if self._params.start_from:
            give(model, weights(self._params), self._params.start_from)
        return model

    def answers(self, teacher: Loaded, data: Arrays) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor | None]:
        return teacher.model, data.inputs, None

    def batch(self, data: Arrays, indices: Tensor, partners: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        p, inputs, targets = self._params, data.inputs[indices], data.targets[indices]
        if p.mixup:
            share = mixup_share(p.seed, epoch, step, p.mixup)
            inputs = mixup(inputs, data.inputs[partners], share)
            targets = mixup_targets(targets, data.targets[partners], CLASSES, share).to(inputs.dtype)
        inputs = augment(
            inputs, indices, seed=p.seed, epoch=epoch, padding=p.crop, flip_probability=p.flip, cutout_side=p.cutout
        )
        return inputs, targets

    def attacked(self, model: nn.Module, inputs: Tensor, targets: Tensor, indices: Tensor, epoch: int) -> Tensor | None:
        p = self._params
        if p.attack == "fgsm":
            return fgsm(model, self.losses, inputs, targets, p.epsilon)
        if p.attack == "pgd":
            # Other draws than those of the augmentation.
            start = randoms(p.seed + 1, epoch, indices, inputs[0].numel()).reshape(inputs.shape)
            return pgd(model, self.losses, inputs, targets, p.epsilon, start=start, steps=p.attack_steps)
        return None

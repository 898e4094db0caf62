"""Linear regression on scikit-learn's diabetes data.

python -m paceline_trainer.run --recipe linear-regression
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe linear-regression --params '{"epochs": 20}'
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paceline_trainer.data import packaged
from paceline_trainer.recipes import LinearRegression, Training
from paceline_trainer.task import Arrays, Task

SPLIT_SEED, EVALUATION_SHARE = 2026, 0.2


class LinearRegressionTask(Task):
    dataset = "scikit-learn diabetes"

    def __init__(self, params: Training) -> None:
        assert isinstance(params, LinearRegression)

    def splits(self) -> tuple[Arrays, Arrays]:
        """Features and target standardised by the training split's mean and deviation."""
        inputs, targets = packaged("diabetes_data_raw.csv.gz").float(), packaged("diabetes_target.csv.gz").float()
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(SPLIT_SEED))
        held_out, train = order.tensor_split([round(len(inputs) * EVALUATION_SHARE)])
        inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
        targets = (targets - targets[train].mean()) / targets[train].std()
        return Arrays(inputs[train], targets[train]), Arrays(inputs[held_out], targets[held_out])

    def model(self, total_steps: int = 1) -> nn.Module:
        return nn.Sequential(nn.Linear(10, 1), nn.Flatten(0))

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets) ** 2

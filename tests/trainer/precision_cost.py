"""What each precision costs on this CPU, on the digits CNN: processor time of a step, bytes kept for backward.

Prints each round's ratios to float32, interleaved; processor time, so that what else runs matters little.

usage: precision_cost.py [ROUNDS [STEPS]]
"""

from __future__ import annotations

import json
import sys

import torch
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from paceline_trainer.optimization.precision import Precision
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from tests.trainer.measured import kept_bytes, processor_seconds


class Run:
    def __init__(self, name: str) -> None:
        params = ImageClassification()
        task = ImageClassificationTask(params)
        data, _ = task.splits()
        torch.manual_seed(0)
        self.inputs, self.targets = data.inputs[:64], data.targets[:64]
        self.model, self.precision = task.model(), Precision(name, torch.device("cpu"))
        self.optimizer = AdamW(self.model.parameters())

    def step(self) -> None:
        self.optimizer.zero_grad()
        with self.precision.autocast():
            loss = cross_entropy(self.model(self.inputs), self.targets)
        self.precision.backward(loss)
        self.precision.unscale(self.optimizer)
        self.precision.step(self.optimizer)


if __name__ == "__main__":
    rounds, steps = (int(value) for value in (sys.argv[1:] + ["3", "5"][len(sys.argv) - 1 :]))
    runs = {name: Run(name) for name in ("fp32", "bf16", "fp16")}
    kept = {name: kept_bytes(run.model, run.step) for name, run in runs.items()}
    print(json.dumps({"kept": kept, "ratio": {name: round(size / kept["fp32"], 2) for name, size in kept.items()}}))
    for _ in range(rounds):
        seconds = {name: processor_seconds(run.step, steps) for name, run in runs.items()}
        print(json.dumps({name: round(value / seconds["fp32"], 2) for name, value in seconds.items()}), flush=True)

"""Accuracy of the digits CNN under attack, trained plainly and on adversarial examples. Prints JSON.

usage: adversarial_digits.py [SEEDS [EPOCHS]]
"""

from __future__ import annotations

import json
import sys

import torch
from torch import nn
from torch.optim import AdamW

from paceline_trainer.adversarial import fgsm, pgd
from paceline_trainer.augment_images import randoms
from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.task import Arrays

EPSILON, WIDTH, PGD_STEPS = 0.15, 8, 5


def start(inputs: torch.Tensor, indices: torch.Tensor, epoch: int) -> torch.Tensor:
    """PGD's random start: of the sample and the epoch alone."""
    return randoms(0, epoch, indices, inputs[0].numel()).reshape(inputs.shape)


def trained(seed: int, epochs: int, attack: str) -> tuple[ImageClassificationTask, nn.Module, Arrays]:
    """Half of each step's loss is on clean samples, half on their adversarial forms; with "none" all is clean."""
    params = ImageClassification(width=WIDTH, seed=seed)
    task = ImageClassificationTask(params)
    data, held_out = task.splits()
    torch.manual_seed(seed)
    model = task.model()
    optimizer = AdamW(model.parameters(), lr=params.lr)
    for epoch in range(epochs):
        for batch in global_batches(epoch_order(len(data), seed, epoch), 64):
            inputs, targets = data.inputs[batch], data.targets[batch]
            if attack == "fgsm":
                inputs = torch.cat([inputs, fgsm(model, task.losses, inputs, targets, EPSILON)])
            elif attack == "pgd":
                begin = start(inputs, batch, epoch)
                worst = pgd(model, task.losses, inputs, targets, EPSILON, start=begin, steps=PGD_STEPS)
                inputs = torch.cat([inputs, worst])
            targets = targets.repeat(len(inputs) // len(targets))
            optimizer.zero_grad()
            task.losses(model(inputs), targets).mean().backward()
            optimizer.step()
    return task, model, held_out


def accuracies(task: ImageClassificationTask, model: nn.Module, data: Arrays) -> dict[str, float]:
    """On clean samples, under FGSM, and under PGD of 20 steps from a random start."""
    begin = start(data.inputs, torch.arange(len(data)), 0)
    forms = {
        "clean": data.inputs,
        "fgsm": fgsm(model, task.losses, data.inputs, data.targets, EPSILON),
        "pgd": pgd(model, task.losses, data.inputs, data.targets, EPSILON, start=begin, steps=20),
    }
    with torch.no_grad():
        return {name: (model(x).argmax(1) == data.targets).float().mean().item() for name, x in forms.items()}


if __name__ == "__main__":
    seeds, epochs = (int(value) for value in (sys.argv[1:] + ["3", "10"][len(sys.argv) - 1 :]))
    for seed in range(seeds):
        for attack in ("none", "fgsm", "pgd"):
            found = accuracies(*trained(seed, epochs, attack))
            print(json.dumps({"trained on": attack, "seed": seed, **found}), flush=True)

"""Folders of models, as runs leave them, without a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from paceline_trainer import artifact, recipes


def leave(folder: Path, recipe: str, params: recipes.Training, model: nn.Module) -> Path:
    """``folder``, with the model in it."""
    facts = {"recipe": recipe, "params": dataclasses.asdict(params), "dataset": "none", "metrics": {}}
    facts |= {"world_size": 1, "seconds": 0.0}
    report = {"evaluation": {"loss": 0.5}, "samples": 1, "loss_by_epoch": [0.5]}
    artifact.save(folder, {name: value.contiguous() for name, value in model.state_dict().items()}, facts, report)
    return folder


def images(folder: Path, *, width: int = 4, zeros: float = 0.0, seed: int = 1) -> Path:
    """A CNN that has learned nothing and is sure of itself; of its matrices and convolutions a share is zero."""
    torch.manual_seed(seed)
    params = recipes.ImageClassification(width=width)
    model = recipes.load("image-classification")(params).model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
            if parameter.ndim > 1:
                parameter.masked_fill_(torch.rand_like(parameter) < zeros, 0)
    return leave(folder, "image-classification", params, model)

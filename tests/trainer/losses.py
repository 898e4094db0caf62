"""Run by test_recipes.py, alone and under torchrun: trains both recipes without text with every optimizer, and writes the losses.

In float32 and in float64: rounding may decide a ReLU or a max-pool the other way, which float32 losses show and float64 ones
do not; what still differs in float64 is a fault of the sharding, not of the arithmetic.

torchrun --nproc-per-node 2 losses.py OUTPUT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from paceline_trainer import recipes
from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, total_steps, train
from paceline_trainer.params import parse
from paceline_trainer.task import Arrays

AUGMENTED = {"crop": 2, "cutout": 6, "flip": 0.5, "mixup": 0.4, "attack": "pgd", "attack_steps": 2}


def losses(recipe: str, optimizer: str, dtype: torch.dtype, world: World, **more: Any) -> list[float]:
    # A batch of 50: at 3 processes every part is uneven; the digits' last batch of an epoch has 38, the diabetes' has 4.
    lr = 0.02 if optimizer == "sgd" else 0.002
    given = {"epochs": 3, "batch_size": 50, "seed": 7, "optimizer": optimizer, "lr": lr, **more}
    params = parse(recipes.PARAMS[recipe], given)
    torch.manual_seed(params.seed)
    task = recipes.load(recipe)(params)
    data, _ = task.splits()
    targets = data.targets.to(dtype) if data.targets.is_floating_point() else data.targets
    result = begin(task, params, world, total_steps(len(data), params), dtype)
    for _ in train(task, Arrays(data.inputs.to(dtype), targets), params, world, result):
        pass
    return result.losses


def main() -> None:
    with open_world() as world:
        found = {
            f"{recipe} {optimizer} {str(dtype).removeprefix('torch.')}": losses(recipe, optimizer, dtype, world)
            for recipe in ("image-classification", "linear-regression")
            for optimizer in ("sgd", "adamw")
            for dtype in (torch.float32, torch.float64)
        }
        found["augmented"] = losses(
            "image-classification", "sgd", torch.float64, world, **{**AUGMENTED, "epochs": 1, "width": 4}
        )
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

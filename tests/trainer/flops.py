"""Run by test_usage.py, alone and under torchrun: a short training with a step's FLOPs counted, and one without, however spread.

torchrun --nproc-per-node 2 flops.py OUTPUT.json
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
from paceline_trainer.watching.step_time import FIRST, IN_A_ROW, StepTimes

SPREAD: dict[str, dict[str, Any]] = {"ddp": {}, "fsdp": {"parallel": "fsdp"}, "pipeline": {"pipeline_stages": 2}}


def trained(world: World, *, counted: bool, **more: Any) -> tuple[list[float], int | None]:
    """Losses until two steps after the one that is counted, and this process's FLOPs of it. A batch that microbatches divide:
    they would be padded, and padding is computed too."""
    params = parse(recipes.ImageClassification, {"batch_size": 48, "width": 4, **more})
    torch.manual_seed(0)
    task = recipes.load("image-classification")(params)
    data, _ = task.splits()
    result = begin(task, params, world, total_steps(len(data), params))
    result.times = StepTimes(enabled=True, count_flops=counted)
    steps = train(task, data, params, world, result)
    for _ in range(FIRST + IN_A_ROW + 2):
        next(steps)
    return result.losses, result.times.flops


def main() -> None:
    with open_world() as world:
        found = {}
        for name, more in SPREAD.items():
            if world.size == 1 and name == "pipeline":
                continue
            losses, flops = trained(world, counted=True, **more)
            plain, nothing = trained(world, counted=False, **more)
            found[name] = {"same": losses == plain, "uncounted": nothing, "flops": sum(world.gather(flops or 0))}
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

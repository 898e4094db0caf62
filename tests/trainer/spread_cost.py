"""What each layout costs on this machine: time of a step beside DDP's, and weights held by a process. For docs/parallelism.md.

torchrun --nproc-per-node 2 tests/trainer/spread_cost.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, train
from paceline_trainer.parallel.plan import AGGREGATIONS
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask

LAYOUTS = {
    "ddp": {},
    **{f"ddp, {how}": {"aggregation": how} for how in AGGREGATIONS[1:]},
    "ddp, accumulate 4": {"accumulate": 4},
    "fsdp": {"parallel": "fsdp"},
    "tensor_parallel 2": {"parallel": "fsdp", "tensor_parallel": 2},
    "pipeline_stages 2": {"pipeline_stages": 2},
}
STEPS, ROUNDS = 30, 5


def seconds(params: ImageClassification, world: World) -> tuple[float, int]:
    """(median seconds of a step, weights that this process holds)."""
    torch.manual_seed(0)
    task = ImageClassificationTask(params)
    data, _ = task.splits()
    result, times, last = begin(task, params, world, STEPS), [], time.monotonic()
    for step in train(task, data, params, world, result):
        times.append(time.monotonic() - last)
        last = time.monotonic()
        if step.number == STEPS:
            break
    return statistics.median(times[5:]), sum(map(_held, result.spread.model.parameters()))


def _held(parameter: nn.Parameter) -> int:
    data = parameter.data
    return data.to_local().numel() if isinstance(data, DTensor) else data.numel()


def main() -> None:
    with open_world() as world:
        ratios: dict[str, list[float]] = {name: [] for name in LAYOUTS}
        held = {}
        for _ in range(ROUNDS):  # interleaved, so that whatever else the machine does meets all of them
            plain = None
            for name, more in LAYOUTS.items():
                took, held[name] = seconds(ImageClassification(width=32, batch_size=128, **more), world)
                plain = plain or took
                ratios[name].append(took / plain)
        if world.main:
            for name, values in ratios.items():
                spread = f"{min(values):.2f} to {max(values):.2f}"
                share = held[name] / held["ddp"]
                print(f"| {name} | {statistics.median(values):.2f} | {spread} | {share:.2f} |")


if __name__ == "__main__":
    main()

"""Bytes that a step hands to all-reduce under each compression, after PowerSGD's warm-up. torchrun starts it, rank 0 writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from paceline_trainer.distributed import world as open_world
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.parallel.plan import AGGREGATIONS, Plan
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask

STEPS = 6


def main() -> None:
    sent, found, send = [0], {}, dist.all_reduce

    def counted(tensor: torch.Tensor, *arguments: object, **more: object) -> object:
        sent[0] += tensor.numel() * tensor.element_size()
        return send(tensor, *arguments, **more)

    with open_world() as world:
        task = ImageClassificationTask(ImageClassification())
        data, _ = task.splits()
        dist.all_reduce = counted  # by which torch's hooks send; plain DDP does it on its own, in C++
        for how in AGGREGATIONS[1:]:
            spread = Spread(
                task.model(), task.losses, Plan(aggregation=how), world, 16, Precision("fp32", world.device)
            )
            for _ in range(STEPS):
                sent[0] = 0
                spread.backward(data.inputs[world.rank :: 100], data.targets[world.rank :: 100], 0.05)
            found[how] = sent[0]
        found["weights"] = sum(weight.numel() for weight in spread.model.parameters())
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

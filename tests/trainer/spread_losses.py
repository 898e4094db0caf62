"""Losses and final weights of the CNN in every layout that fits the number of processes. torchrun starts it, rank 0 writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from paceline_trainer.data import shard
from paceline_trainer.distributed import world as open_world
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.optimization.recompute import recompute_activations
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask

BATCH, STEPS = 50, 12
# name -> numbers of processes it is tried with, plan
PLANS = {
    "ddp": ((1, 2, 3, 4), Plan()),
    "ddp, accumulating": ((1, 2, 3), Plan(accumulate=3)),
    "fsdp": ((2, 3, 4), Plan(parallel="fsdp")),
    "fsdp, accumulating": ((2, 3), Plan(parallel="fsdp", accumulate=3)),
    "tensor": ((2,), Plan(parallel="fsdp", tensor_parallel=2)),
    "pipeline": ((2,), Plan(pipeline_stages=2, microbatches=3)),
    "pipeline of four": ((4,), Plan(pipeline_stages=4, microbatches=4)),
    "tensor of four": ((4,), Plan(parallel="fsdp", tensor_parallel=4)),
    "fsdp and tensor": ((4,), Plan(parallel="fsdp", tensor_parallel=2)),
    "ddp and pipeline": ((4,), Plan(pipeline_stages=2)),
    "fsdp and pipeline": ((4,), Plan(parallel="fsdp", pipeline_stages=2)),
    "tensor and pipeline": ((4,), Plan(parallel="fsdp", tensor_parallel=2, pipeline_stages=2)),
    "ddp, recomputing": ((1, 2), Plan()),
    "fsdp, recomputing": ((2,), Plan(parallel="fsdp")),
    "tensor, recomputing": ((2,), Plan(parallel="fsdp", tensor_parallel=2)),
    "pipeline, recomputing": ((2,), Plan(pipeline_stages=2)),
}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    found = {}
    with open_world() as world:
        task = ImageClassificationTask(ImageClassification(width=4))
        data, _ = task.splits()
        for name, (sizes, plan) in PLANS.items():
            if world.size not in sizes:
                continue
            torch.manual_seed(5)
            model = task.model().double()
            if "recomputing" in name:
                recompute_activations(model)
            spread = Spread(model, task.losses, plan, world, BATCH, Precision("fp32", world.device))
            optimizer = torch.optim.SGD(spread.model.parameters(), lr=0.05, momentum=0.9)
            losses = []
            for step in range(STEPS):
                batch = torch.arange(step * BATCH, step * BATCH + (BATCH if step % 5 else 5))
                mine = shard(batch, spread.data_rank, spread.layout.data)
                loss = spread.backward(data.inputs[mine].double(), data.targets[mine], 1 / len(batch))
                told = loss.reshape(1).double() if spread.counts else torch.zeros(1)
                losses.append(float(world.sum(told.clone())) / len(batch))
                optimizer.step()
                optimizer.zero_grad()
            weights = spread.full_state()
            if weights is not None:
                norm = sum(float((value**2).sum()) for value in weights.values()) ** 0.5
                found[name] = {"losses": losses, "norm": norm, "names": sorted(weights)}
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

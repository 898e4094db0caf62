"""Run by test_local_sgd.py under torchrun: replicas that average their weights, beside ones that share gradients."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from paceline_trainer.data import shard
from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask

BATCH, STEPS = 25, 12


def trained(world: World, plan: Plan, average_at: set[int], every: int) -> dict[str, object]:
    """``average_at``: steps that are told to the replicas as the ``every``-th, at which they average."""
    task = ImageClassificationTask(ImageClassification(width=2))
    data, _ = task.splits()
    torch.manual_seed(5)
    spread = Spread(task.model().double(), task.losses, plan, world, BATCH, Precision("fp32", world.device))
    optimizer = torch.optim.SGD(spread.model.parameters(), lr=0.05)
    losses, sent, send = [], [0], dist.all_reduce

    def counted(tensor: torch.Tensor, *arguments: object, **more: object) -> object:
        sent[0] += tensor.numel()
        return send(tensor, *arguments, **more)

    for step in range(1, STEPS + 1):
        mine = shard(torch.arange((step - 1) * BATCH, step * BATCH), world.rank, world.size)
        loss = spread.backward(data.inputs[mine].double(), data.targets[mine], 1 / BATCH)
        losses.append(float(world.sum(loss.reshape(1).double())) / BATCH)
        optimizer.step()
        optimizer.zero_grad()
        dist.all_reduce = counted
        spread.after_update(every * step if step in average_at else every * step + 1)
        dist.all_reduce = send
    before = world.gather(digest(spread))
    spread.settle()
    return {"losses": losses, "sent": sent[0], "before": before, "after": world.gather(digest(spread))}


def digest(spread: Spread) -> float:
    return float(sum((p.detach() ** 2).sum() for p in spread.model.parameters()))


def main() -> None:
    torch.set_default_dtype(torch.float64)
    with open_world() as world:
        found = {
            "ddp": trained(world, Plan(), set(), 4),
            "every step": trained(world, Plan(local_steps=4), set(range(1, STEPS + 1)), 4),
            "every fourth": trained(world, Plan(local_steps=4), {4, 8}, 4),
        }
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

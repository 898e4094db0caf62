"""Run by test_parameter_server.py, alone and under torchrun: losses with a parameter server, and without it where it is alone.

In float64: what differs is a fault, not the arithmetic's. torchrun --nproc-per-node 3 server_losses.py OUTPUT.json
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
from paceline_trainer.loop import begin, no_wishes, total_steps, train
from paceline_trainer.params import parse
from paceline_trainer.server_loop import train_with_server
from paceline_trainer.task import Arrays

# Batches of 479: the digits' last of an epoch is a single sample, so that one of two workers has none.
RUNS = {
    "sgd": {"optimizer": "sgd", "lr": 0.02},
    "adamw": {"weight_decay": 0.1, "clip_norm": 0.5, "schedule": "cosine", "accumulate": 3, "crop": 2, "mixup": 0.4},
}


def trained(world: World, more: dict[str, Any]) -> dict[str, Any]:
    given = {"epochs": 3, "batch_size": 479, "seed": 7, "width": 4, **more}
    params = parse(recipes.PARAMS["image-classification"], given)
    torch.manual_seed(params.seed)
    task = recipes.load("image-classification")(params)
    data, _ = task.splits()
    result = begin(task, params, world, total_steps(len(data), params), torch.float64)
    run = task, Arrays(data.inputs.double(), data.targets), params, world, result
    steps = train(*run) if result.spread.link is None else train_with_server(*run, no_wishes)
    numbers = [step.number for step in steps]
    weights = float(sum((p.detach() ** 2).sum() for p in result.spread.model.parameters()))
    moments = float(sum(v.sum() for state in result.optimizer.state.values() for v in state.values()))
    staleness = result.staleness.most if result.staleness else None
    told = {"losses": result.losses, "weights": weights, "moments": moments, "steps": numbers}
    return {"of": world.gather(told), "staleness": staleness}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    with open_world() as world:
        found = {name: trained(world, {"parallel": "server", **run}) for name, run in RUNS.items()}
        if world.size > 1:
            found["at once"] = trained(world, {"parallel": "server", "staleness": 3, **RUNS["adamw"]})
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

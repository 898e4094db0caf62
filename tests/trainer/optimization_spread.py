"""Run by torchrun in two processes: clipping, best weights and loss scaling of models that are spread. Writes JSON.

usage: optimization_spread.py OUTPUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.optim import SGD

from paceline_trainer.distributed import world
from paceline_trainer.optimization.clipping import clip_by_norm
from paceline_trainer.optimization.early_stopping import BestWeights
from paceline_trainer.optimization.precision import Precision

LIMIT = 0.3


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def clipped(model: nn.Module, stages: dist.ProcessGroup | None = None, first: int = 0, last: int = 3) -> list[float]:
    """The norm before clipping, then the sum of absolute values of each gradient after."""
    (model(torch.linspace(-1, 1, 12).reshape(2, 6)) ** 2).sum().backward()
    own = [p for layer in list(model.children())[first:last] for p in layer.parameters()]
    norm = clip_by_norm(own, LIMIT, stages)
    sums = [float(whole(p.grad).abs().sum()) for p in own]
    if stages is not None:
        parts: list[list[float]] = [[], []]
        dist.all_gather_object(parts, sums, group=stages)
        sums = [value for part in parts for value in part]
    return [norm, *sums]


def main() -> None:
    with world() as here:
        mesh = init_device_mesh("cpu", (2,))
        found = {"single": clipped(network())}
        sharded = network()
        fully_shard(sharded[0], mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        found["fsdp"] = clipped(sharded)
        # The output layer's bias stays a plain tensor beside DTensors: torch's own clipping cannot mix the two.
        divided = parallelize_module(network(), mesh, {"0": ColwiseParallel()})
        found["tensor"] = clipped(parallelize_module(divided, mesh, {"2": RowwiseParallel()}))
        halves = [(0, 1), (2, 3)][here.rank]
        found["stages"] = clipped(network(), mesh.get_group(), *halves)

        kept, before = BestWeights(), [whole(p).clone() for p in sharded.parameters()]
        kept.keep(sharded)
        SGD(sharded.parameters(), lr=1.0).step()
        moved = any(not torch.equal(whole(p), q) for p, q in zip(sharded.parameters(), before, strict=True))
        kept.restore(sharded)
        same = all(torch.equal(whole(p), q) for p, q in zip(sharded.parameters(), before, strict=True))
        found["restored"] = moved and same

        optimizer, precision = SGD(sharded.parameters(), lr=1.0), Precision("fp16", here.device, initial_scale=8.0)
        precision.backward(sharded(torch.ones(1, 6)).sum())
        if here.rank == 1:
            next(sharded.parameters()).grad.to_local().fill_(torch.inf)
        precision.unscale(optimizer)
        found["stepped"] = [precision.step(optimizer), precision.scale]
        every = here.gather(found)
    if here.main:
        facts = {key: [part[key] for part in every] for key in found}
        Path(sys.argv[1]).write_text(json.dumps(facts), encoding="utf-8")


main()

"""Replicas that share their gradients: whole copies of the weights (DDP), or each a part of them (FSDP2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

# Two warm-up steps are all that PowerSGD's own checks ask for; its error feedback makes up for the rest.
POWERSGD_START = 2


def replicate(
    model: nn.Module, mesh: DeviceMesh, *, bucket_mb: int, aggregation: str, rank: int
) -> DistributedDataParallel:
    """DDP over a one-dimensional mesh. ``aggregation`` is one of plan.AGGREGATIONS: what gradients are turned into on the wire;
    ``rank`` is PowerSGD's. Backward overlaps with communication, bucket by bucket."""
    wrapped = DistributedDataParallel(model, device_mesh=mesh, bucket_cap_mb=bucket_mb, gradient_as_bucket_view=True)
    group = mesh.get_group()
    if aggregation == "powersgd":
        state = PowerSGDState(group, matrix_approximation_rank=rank, start_powerSGD_iter=POWERSGD_START)
        wrapped.register_comm_hook(state, powerSGD_hook)
    elif aggregation != "none":
        hook = {"fp16": default_hooks.fp16_compress_hook, "bf16": default_hooks.bf16_compress_hook}[aggregation]
        wrapped.register_comm_hook(group, hook)
    return wrapped


def shard(model: nn.Module, mesh: DeviceMesh) -> FSDPModule:
    """FSDP2: each of the model's ``layers`` (or children) is gathered for its forward and backward, and freed in between."""
    layers = getattr(model, "layers", None)
    for layer in layers.values() if isinstance(layers, nn.ModuleDict) else model.children():
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


@contextlib.contextmanager
def unsynchronised(model: nn.Module) -> Iterator[None]:
    """Within, backward adds to the local gradients only; the next backward outside of it shares the sum."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
    else:
        yield

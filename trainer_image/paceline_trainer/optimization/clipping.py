"""Gradients clipped by their global norm or by value, for replicas, shards (DTensor) and pipeline stages alike."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor


def gradient_norm(parameters: Iterable[nn.Parameter], stages: dist.ProcessGroup | None = None) -> float:
    """The L2 norm of all gradients together: of the whole model, the same in every process.

    ``stages``: the group of a pipeline, whose processes hold different layers. All processes call it together.
    """
    grads = _gradients(parameters)
    # torch cannot stack norms of tensors that live on different meshes, as under FSDP with tensor parallel.
    by_mesh: dict[DeviceMesh | None, list[Tensor]] = {}
    for grad in grads:
        by_mesh.setdefault(grad.device_mesh if isinstance(grad, DTensor) else None, []).append(grad)
    device = grads[0].device if grads else torch.device("cpu")
    squares = torch.zeros((), dtype=torch.float64, device=device)
    for group in by_mesh.values():
        norm = nn.utils.get_total_norm(group)
        squares += (norm.full_tensor() if isinstance(norm, DTensor) else norm).double() ** 2
    if stages is not None:
        dist.all_reduce(squares, group=stages)
    return float(squares.sqrt())


def clip_by_norm(parameters: Iterable[nn.Parameter], limit: float, stages: dist.ProcessGroup | None = None) -> float:
    """Scales all gradients so that their global norm is at most ``limit``; the norm before (see ``gradient_norm``).

    Gradients whose norm is not finite are left alone: a scale of NaN would hide which of them it was.
    """
    parameters = list(parameters)
    norm = gradient_norm(parameters, stages)
    scale = limit / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
    if scale < 1 and norm != float("inf"):
        for grad in _gradients(parameters):
            grad.mul_(scale)
    return norm


def clip_by_value(parameters: Iterable[nn.Parameter], limit: float, stages: dist.ProcessGroup | None = None) -> float:
    """Each element into [-limit, limit]; the global norm before (see ``gradient_norm``)."""
    parameters = list(parameters)
    norm = gradient_norm(parameters, stages)
    for grad in _gradients(parameters):
        # Element by element: what a shard has is enough.
        (grad.to_local() if isinstance(grad, DTensor) else grad).clamp_(-limit, limit)
    return norm


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]

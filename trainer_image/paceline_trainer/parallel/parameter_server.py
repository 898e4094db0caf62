"""A parameter server (Li et al. 2014): rank 0 has the weights and updates them, the other processes compute gradients.

Messages go over gloo, between rank 0 and each worker: gradients of what trains there, weights back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from paceline_trainer.distributed import World

SERVER = 0
_HEAD, _BODY = 0, 1


@dataclass(frozen=True)
class Push:
    """What a worker sends after its part of a step: ``samples`` of the global batch with their summed loss; ``gradient`` (P,)
    is of that part alone, weighed so that all workers' add up to the global batch's; ``stop``: was it told to end?"""

    worker: int
    step: int
    samples: int
    loss: float
    stop: bool
    gradient: Tensor


@dataclass(frozen=True)
class Answer:
    """With the weights for a worker's next step. At a ``meeting`` all are at the same step, and may be asked to do things."""

    meeting: bool = False
    stop: bool = False
    save: bool = False


@dataclass
class Staleness:
    """How many updates behind the weights were that gradients were computed on, over all gradients since the process began."""

    gradients: int = 0
    total: int = 0
    most: int = 0

    def add(self, behind: int) -> None:
        self.gradients, self.total, self.most = self.gradients + 1, self.total + behind, max(self.most, behind)

    @property
    def mean(self) -> float:
        return self.total / max(1, self.gradients)

    def __str__(self) -> str:
        return f"gradients were of weights {self.mean:.2f} updates old on average, {self.most} at most"


class Link:
    """Between server and workers, which are numbered from 0 (rank - 1). Made by all processes together."""

    def __init__(self, model: nn.Module, world: World) -> None:
        self._group = cast("dist.ProcessGroup", dist.new_group(backend="gloo"))
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.server, self.workers = world.main, world.size - 1
        self._device = world.device

    # The worker's side.

    def push(self, step: int, samples: int, loss: float, *, stop: bool) -> Answer:
        """Sends the model's gradients, and waits for the weights of the next step, which the model then has."""
        head = torch.tensor([step, samples, loss, stop], dtype=torch.float64)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._trained]
        self._send(head, SERVER, _HEAD)
        self._send(parameters_to_vector(gradients).cpu(), SERVER, _BODY)
        told, weights = torch.empty(3, dtype=torch.float64), self._room()
        self._receive(told, SERVER, _HEAD)
        self._receive(weights, SERVER, _BODY)
        with torch.no_grad():
            vector_to_parameters(weights.to(self._device), self._trained)
        return Answer(*(flag > 0 for flag in told.tolist()))

    # The server's side.

    def receive(self) -> Push:
        """The next, of whichever worker."""
        head, gradient = torch.empty(4, dtype=torch.float64), self._room()
        rank = self._receive(head, None, _HEAD)
        self._receive(gradient, rank, _BODY)
        step, samples, loss, stop = head.tolist()
        return Push(rank - 1, int(step), int(samples), loss, stop > 0, gradient)

    def answer(self, worker: int, answer: Answer) -> None:
        """With the weights as they are."""
        told = torch.tensor([answer.meeting, answer.stop, answer.save], dtype=torch.float64)
        self._send(told, worker + 1, _HEAD)
        self._send(self._weights(), worker + 1, _BODY)

    def put(self, gradient: Tensor) -> None:
        """Makes (P,) the gradients of the model."""
        parts = torch.split(gradient.to(self._device), [parameter.numel() for parameter in self._trained])
        for parameter, part in zip(self._trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    # Both, together.

    def share(self, value: Any) -> Any:
        """The server's value, in every process."""
        values = [value]
        dist.broadcast_object_list(values, SERVER, group=self._group)
        return values[0]

    def _weights(self) -> Tensor:
        return parameters_to_vector(self._trained).detach().cpu()

    def _room(self) -> Tensor:
        return torch.empty(sum(parameter.numel() for parameter in self._trained), dtype=self._trained[0].dtype)

    def _send(self, tensor: Tensor, rank: int, tag: int) -> None:
        dist.send(tensor, rank, group=self._group, tag=tag)

    def _receive(self, tensor: Tensor, rank: int | None, tag: int) -> int:
        return int(dist.recv(tensor, rank, group=self._group, tag=tag))

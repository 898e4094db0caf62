"""The process group, from torchrun's environment; one process without it works just the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """``restarts``: in place, of these processes, by the agent that counts most. Each agent of torchrun counts its own, and none
    where it sees its peers gone before its own processes have failed."""

    rank: int
    size: int
    device: torch.device
    backend: str
    restarts: int = 0

    @property
    def main(self) -> bool:
        """Does this process speak for all?"""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in every process."""
        if self.size > 1:
            tensor = tensor.to(self.device)
            dist.all_reduce(tensor)
        return tensor.cpu()

    def gather(self, value: T) -> list[T]:
        """Every process's value by rank, in every process; pickled, so for small things."""
        values: list[T] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values


@contextmanager
def world() -> Iterator[World]:
    """NCCL where there is a GPU for every local process, else gloo."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available() and torch.cuda.device_count() >= local_size
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    backend = "nccl" if gpu else "gloo"
    if gpu:
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group(backend, device_id=device if gpu else None)
    here = World(int(os.environ.get("RANK", "0")), size, device, backend)
    counted = here.gather(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))
    yield replace(here, restarts=max(counted))
    if dist.is_initialized():  # after a failure it might wait for ever for peers that are stuck
        dist.destroy_process_group()

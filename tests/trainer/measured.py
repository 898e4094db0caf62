"""What a step costs, for the scripts of this folder that print tables, and for tests of memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


def processor_seconds(step: Callable[[], None], steps: int) -> float:
    """Of one step, over so many: what else runs matters little."""
    began = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - began) / steps


def kept_bytes(model: nn.Module, step: Callable[[], None]) -> int:
    """Of all that autograd keeps in a step's forward pass, the model's parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    # The storages themselves are kept: a freed one's address would be given to another.
    seen: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(storage.nbytes() for storage in seen.values())

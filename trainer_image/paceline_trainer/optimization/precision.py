"""The arithmetic of a step: float32, or bfloat16, float16 with loss scaling, or float8 where the device can.

Weights and optimizer state stay float32; forward and backward use the smaller type where that is safe (autocast).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

PRECISIONS = ("fp32", "bf16", "fp16", "fp8")
_FLOAT8_CAPABILITY = (8, 9)  # Ada; float8 matrix units came with it and Hopper


class PrecisionError(ValueError):
    """This device or installation cannot compute so; says why."""


def refusal(name: str, device: torch.device) -> str | None:
    """Why ``name`` cannot be had on this device; None where it can."""
    if name not in PRECISIONS:
        return f"precision: must be one of {', '.join(PRECISIONS)}, not {name!r}"
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return f"precision: bf16 needs a GPU of compute capability 8.0; {torch.cuda.get_device_name(device)} takes fp16"
    if name == "fp8":
        if device.type != "cuda":
            return f"precision: fp8 needs a GPU of compute capability 8.9 or higher; this is {device.type}; take bf16"
        capability = torch.cuda.get_device_capability(device)
        if capability < _FLOAT8_CAPABILITY:
            has = ".".join(map(str, capability))
            return f"precision: fp8 needs a GPU of compute capability 8.9 or higher; this has {has}; take bf16"
        if find_spec("torchao") is None:
            return "precision: fp8 needs torchao, which is not installed; take bf16"
    return None


class Precision:
    """One per run; ``scale`` is the loss scale of fp16, else 1.

    A step in a loop of one's own::

        with precision.autocast():
            loss = F.cross_entropy(model(inputs), targets)
        precision.backward(loss)
        precision.unscale(optimizer)  # then gradients may be clipped
        stepped = precision.step(optimizer)
    """

    def __init__(self, name: str, device: torch.device, *, initial_scale: float = 2.0**16) -> None:
        """Raises PrecisionError where the device cannot."""
        reason = refusal(name, device)
        if reason is not None:
            raise PrecisionError(reason)
        self.name, self._device = name, device
        self._scaler = GradScaler(device.type, init_scale=initial_scale, enabled=name == "fp16")

    def prepare(self, model: nn.Module) -> nn.Module:
        """For fp8, the model with its large linear layers computing in float8; else the model as it is."""
        if self.name != "fp8":
            return model

        def fits(module: nn.Module, _name: str) -> bool:
            # The float8 matrix product takes dimensions that 16 divides.
            return isinstance(module, nn.Linear) and module.in_features % 16 == module.out_features % 16 == 0

        float8 = import_module("torchao.float8")
        converted: nn.Module = float8.convert_to_float8_training(model, module_filter_fn=fits)
        return converted

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the forward pass and the loss, not around the backward pass."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.float16 if self.name == "fp16" else torch.bfloat16
        return autocast(self._device.type, dtype=dtype)

    @property
    def scale(self) -> float:
        return self._scaler.get_scale()

    def backward(self, loss: Tensor, leaves: Sequence[Tensor] | None = None) -> None:
        """``leaves``: the only tensors that get gradients; None for all."""
        torch.autograd.backward(self._scaler.scale(loss), inputs=leaves)

    def unscale(self, optimizer: Optimizer) -> None:
        """The gradients as they would be without loss scaling; once a step, before they are clipped or looked at."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """The optimizer's step; False where fp16 gradients had overflown: it was skipped, and the scale halved.

        Replicas decide the same, as an overflow is in the reduced gradients of all; for shards (DTensor) torch adds up
        who saw one. The stages of a pipeline would not know of each other's: refuse fp16 there.
        """
        before = self.scale
        self._scaler.step(optimizer)
        self._scaler.update()
        return self.scale >= before

    def leave_out(self) -> None:
        """In place of ``step``, after ``unscale``: the weights stay as they are."""
        if self._scaler.is_enabled():
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of fp16; another precision has no state, and a run that changed to fp16 starts with the initial scale."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)

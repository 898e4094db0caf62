"""What AdaLoRA (Zhang et al. 2023) does beside training: it takes rank from where it matters least, and keeps factors orthogonal.

The layers and the allocator are peft's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from paceline_trainer.text.tuning import ADAPTER


class RankBudget:
    """Gives the ranks out, step by step. ``backbone`` has the adapters that ``config`` (peft's AdaLoraConfig) describes."""

    def __init__(self, backbone: nn.Module, config: Any) -> None:
        from peft.tuners.adalora.layer import RankAllocator

        self._backbone, self._orthogonality = backbone, float(config.orth_reg_weight)
        self._allocator: Any = RankAllocator(backbone, config, ADAPTER)  # type: ignore[no-untyped-call]

    def before_update(self) -> None:
        """Adds the gradient of the penalty on factors that are not orthogonal; the same in every replica."""
        factors = [p for name, p in self._backbone.named_parameters() if "lora_A" in name or "lora_B" in name]
        with torch.enable_grad():
            squares = (p @ p.T if p.shape[0] < p.shape[1] else p.T @ p for p in factors)
            distances = [(square - torch.eye(len(square), device=square.device)).norm() for square in squares]
            penalty = self._orthogonality * torch.stack(distances).mean()
        for parameter, gradient in zip(factors, torch.autograd.grad(penalty, factors), strict=True):
            assert parameter.grad is not None
            parameter.grad += gradient

    def after_update(self, step: int) -> None:
        """``step`` counts from 1. Reads the step's gradients, so before they are cleared."""
        self._allocator.update_and_allocate(self._backbone, step)

    def ranks(self) -> int:
        """How many are left, over all adapted layers."""
        left = (p for name, p in self._backbone.named_parameters() if "lora_E" in name)
        return sum(int(p.count_nonzero()) for p in left)

    def state_dict(self) -> dict[str, Any]:
        """The importance of every weight so far."""
        kept = self._allocator
        return {"ipt": kept.ipt, "exp_avg_ipt": kept.exp_avg_ipt, "exp_avg_unc": kept.exp_avg_unc}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self._allocator, name, value)

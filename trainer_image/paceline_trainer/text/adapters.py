"""Bottleneck adapters (Houlsby et al. 2019), one a layer behind the feed-forward block as Pfeiffer et al. 2021 place them."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class Adapter(nn.Module):
    """x (…, H) -> base(x) = h -> h + up(gelu(down(h))). ``up`` begins at zero: the output is the base's then."""

    def __init__(self, base: nn.Linear, width: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.out_features, width, device=base.weight.device, dtype=base.weight.dtype)
        self.up = nn.Linear(width, base.out_features, device=base.weight.device, dtype=base.weight.dtype)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base(x)
        return cast("Tensor", h + self.up(nn.functional.gelu(self.down(h))))


def add_adapters(backbone: nn.Module, width: int) -> None:
    """Into every layer of a transformers' BertModel, in place; the adapters alone are trainable afterwards."""
    backbone.requires_grad_(False)
    for layer in backbone.encoder.layer:  # type: ignore[union-attr]
        layer.output.dense = Adapter(layer.output.dense, width)

"""Quantization-aware training (Jacob et al. 2018), by torchao: linear layers that round as the quantized ones will.

Rounding is of a copy in each forward pass, and gradients go through it as if it were not there: the weights that train stay
float, under their own names.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

# Of int4: so many weights of a row share a scale, where that divides the row; else the row does.
GROUP = 32


def prepare(model: nn.Module, how: str) -> None:
    """Makes the linear layers round, in place. ``how``: int8-dynamic (weights by row, activations by token) or int4-weight."""
    from torchao.quantization import quantize_

    for grouped in (True, False):
        quantize_(model, _config(how, grouped=grouped), filter_fn=partial(_fits, grouped=grouped))


def _fits(module: nn.Module, _name: str, *, grouped: bool) -> bool:
    return isinstance(module, nn.Linear) and (module.in_features % GROUP == 0) is grouped


def _config(how: str, *, grouped: bool) -> Any:
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

    if how == "int8-dynamic":
        return QATConfig(
            activation_config=IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False),
            weight_config=IntxFakeQuantizeConfig(torch.int8, granularity=PerAxis(0), is_symmetric=True),
        )
    granularity = PerGroup(GROUP) if grouped else PerAxis(0)
    weights = IntxFakeQuantizeConfig(torch.int4, granularity=granularity, is_symmetric=True)  # type: ignore[attr-defined]
    return QATConfig(weight_config=weights)


def plain(model: nn.Module) -> None:
    """Turns the layers back into float ones with the trained weights, in place."""
    from torchao.quantization.qat.linear import FakeQuantizedLinear

    for name, module in list(model.named_modules()):
        if isinstance(module, FakeQuantizedLinear):
            model.set_submodule(name, module.to_linear())

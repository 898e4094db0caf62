"""Activations that are computed again in backward in place of being kept (Chen et al. 2016), by torch.utils.checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(model: nn.Module) -> None:
    """Changes the model in place: of each layer only the input is kept. Layers are those of ``layers: nn.ModuleDict``, or what
    transformers' models call so. Before the model is spread over processes; weights keep their names.

    Random generators are those of the first time, so dropout is the same. Raises ValueError for a model without such layers.
    """
    layers = getattr(model, "layers", None)
    found = list(layers.values()) if isinstance(layers, nn.ModuleDict) else []
    for layer in found:
        cast("Any", layer).forward = partial(checkpoint, layer.forward, use_reentrant=False)
    backbones = [module for module in model.modules() if getattr(module, "supports_gradient_checkpointing", False)]
    for backbone in backbones[:1]:  # the outermost: it tells its own layers
        cast("Any", backbone).activation_checkpointing_enable({"use_reentrant": False})
    if not found and not backbones:
        raise ValueError(
            "recompute_activations: this recipe's model has no layers whose inputs could be kept; set false"
        )

"""Layers whose features are divided over processes (DTensor): a column-wise linear layer, and the row-wise one behind it."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from paceline_trainer.parallel.layout import LayoutError

# How a linear layer is divided: "columns" of its outputs (each process computes some of the features), or "rows" of its inputs
# (each process has some of the features; the sum over processes is the layer's output). One all-reduce for such a pair.
Division = Literal["columns", "rows"]


def divide(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Divides the linear layers that ``model.tensor_plan`` (name -> Division) names. Raises LayoutError."""
    plan: dict[str, Division] | None = getattr(model, "tensor_plan", None)
    if plan is None:
        raise LayoutError("tensor_parallel: this recipe's model says of no layer how it could be divided; set 1")
    present = {name: division for name, division in plan.items() if name in dict(model.named_modules())}
    for name, division in present.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear), name
        features = layer.out_features if division == "columns" else layer.in_features
        if features % mesh.size():
            raise LayoutError(
                f"tensor_parallel: {mesh.size()} processes do not divide the {features} features of {name}"
            )
    styles: dict[str, ParallelStyle] = {
        name: ColwiseParallel() if division == "columns" else RowwiseParallel() for name, division in present.items()
    }
    return parallelize_module(model, mesh, styles)

"""The conversions by name, their parameters and the targets that each can be asked for. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from paceline_trainer.params import Refusal, param, schema


@dataclass(frozen=True)
class Nothing:
    """Only measures the model as it is."""


@dataclass(frozen=True)
class PruneStructured:
    """Removes whole channels (Torch-Pruning), until the asked share of MACs or parameters is left."""

    importance: str = param(
        "magnitude",
        "What a channel counts by: the size of its weights, or the loss's first-order change without it.",
        choices=("magnitude", "taylor"),
    )
    round_to: int = param(1, "Channels that are left are a multiple of this.", minimum=1, maximum=256)
    rounds: int = param(5, "Removes them in so many rounds, judging what is left anew in each.", minimum=1, maximum=100)


@dataclass(frozen=True)
class PruneUnstructured:
    """Sets the smallest weights to zero. It makes nothing faster by itself: no runtime skips them."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        Refusal({"pattern": "2:4", "scope": "global"}, "2:4 is a pattern within each layer: take scope: layer"),
    )

    scope: str = param("layer", "Smallest of all layers together, or of each by itself.", choices=("global", "layer"))
    pattern: str = param(
        "none",
        "Experimental: two of any four neighbours, as a GPU's sparse kernels take them; no serving runtime does.",
        choices=("none", "2:4"),
    )


@dataclass(frozen=True)
class QuantizeDynamic:
    """Weights as int8, activations quantized as they come (ONNX Runtime)."""

    backend: str = param("onnxruntime", "What runs the model.", choices=("onnxruntime",))
    per_channel: bool = param(False, "A scale of its own for each output channel.")


@dataclass(frozen=True)
class QuantizeStatic:
    """Weights and activations as int8, their ranges known from training samples (ONNX Runtime, QDQ)."""

    calibration: str = param(
        "minmax",
        "How an activation's range follows from its values.",
        choices=("minmax", "entropy", "percentile"),
    )
    calibration_samples: int = param(256, "Of the training split.", minimum=1, maximum=10_000)
    per_channel: bool = param(True, "A scale of its own for each output channel.")


@dataclass(frozen=True)
class QuantizeWeightOnly:
    """Weights of linear layers as integers, arithmetic in floats (torchao). It saves memory, not time, on a CPU."""

    bits: int = param(8, "Of a weight.", choices=(8, 4))
    group_size: int = param(
        0, "So many weights of a row share a scale; 0 is the whole row.", choices=(0, 32, 64, 128, 256)
    )


@dataclass(frozen=True)
class QuantizeQat:
    """What a model was trained for with quantization_aware, made real (torchao)."""

    scheme: str = param(
        "int8-dynamic", "As in the training's quantization_aware.", choices=("int8-dynamic", "int4-weight")
    )


PARAMS: dict[str, type] = {
    "none": Nothing,
    "prune.structured": PruneStructured,
    "prune.unstructured": PruneUnstructured,
    "quantize.dynamic": QuantizeDynamic,
    "quantize.static": QuantizeStatic,
    "quantize.weightOnly": QuantizeWeightOnly,
    "quantize.qat": QuantizeQat,
}

# What may be asked for, exactly one of them; a method that is not here takes none.
TARGETS: dict[str, tuple[str, ...]] = {
    "prune.structured": ("macsRatio", "parametersRatio"),
    "prune.unstructured": ("sparsity",),
}


def methods_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of every method's params."""
    return {name: schema(params) for name, params in sorted(PARAMS.items())}

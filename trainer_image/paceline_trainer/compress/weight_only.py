"""torchao behind one function per configuration, as its interface changes between minor versions.

Only linear layers are quantized: torchao has nothing for convolutions, and its embeddings are made floats again, the whole table,
whenever a row is asked for. Where the group's size does not divide a row, the whole row shares a scale, as in quantization-aware
training. In a file the integers are plain tensors, four-bit ones two to a byte; in memory torchao keeps each in a byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.loaded import fit

# Of QAT's four-bit weights, in training and here.
QAT_GROUP = 32


@dataclass(frozen=True)
class Scheme:
    """``name``: int8-weight, int4-weight or int8-dynamic (activations, too); ``group``: 0 is a whole row."""

    name: str
    group: int = 0

    @property
    def bits(self) -> int:
        return 4 if self.name == "int4-weight" else 8


def qat(scheme: str) -> Scheme:
    """What a training with this ``quantization_aware`` was for."""
    return Scheme(scheme, QAT_GROUP if scheme == "int4-weight" else 0)


def int8_weight(group: int) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from torchao.quantization.granularity import PerGroup, PerRow

    return Int8WeightOnlyConfig(granularity=PerGroup(group) if group else PerRow())


def int4_weight(group: int) -> Any:
    from torchao.quantization import IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerAxis, PerGroup

    four = torch.int4  # type: ignore[attr-defined]  # it is there, untold
    return IntxWeightOnlyConfig(weight_dtype=four, granularity=PerGroup(group) if group else PerAxis(0))


def int8_dynamic(group: int) -> Any:
    """Of the configurations with int8 activations the one that QATConfig can prepare for."""
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig
    from torchao.quantization.granularity import PerAxis, PerGroup

    return Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int8, weight_granularity=PerGroup(group) if group else PerAxis(0)
    )


CONFIGS = {"int8-weight": int8_weight, "int4-weight": int4_weight, "int8-dynamic": int8_dynamic}


def quantize(model: nn.Module, scheme: Scheme) -> list[str]:
    """Quantizes the linear layers of ``model``, in place; their names. Raises CompressionError where there is none."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not names:
        raise CompressionError("there is no linear layer, and torchao quantizes no others: take quantize.static")
    _quantize(model, scheme, names)
    return names


def _quantize(model: nn.Module, scheme: Scheme, names: Sequence[str]) -> None:
    from torchao.quantization import quantize_

    groups: dict[int, set[str]] = {}
    for name in names:
        row = cast("nn.Linear", model.get_submodule(name)).in_features
        groups.setdefault(scheme.group if scheme.group and row % scheme.group == 0 else 0, set()).add(name)
    for group, chosen in groups.items():
        quantize_(model, CONFIGS[scheme.name](group), filter_fn=partial(_chosen, names=chosen))


def _chosen(_: nn.Module, name: str, *, names: set[str]) -> bool:
    return name in names


def state(model: nn.Module, scheme: Scheme, names: Sequence[str]) -> dict[str, Tensor]:
    """Plain tensors by name, for safetensors; of a quantized weight its parts, as NAME.weight.PART."""
    found: dict[str, Tensor] = {}
    quantized = {f"{name}.weight" for name in names}
    for key, value in model.state_dict().items():
        if key not in quantized:
            found[key] = value.detach().contiguous().clone()
            continue
        for part, tensor in _parts(value).items():
            even = tensor.shape[1] % 2 == 0
            packed = pack(tensor) if scheme.bits == 4 and part == "qdata" and even else tensor
            found[f"{key}.{part}"] = packed.detach().contiguous().clone()
    return found


def restore(model: nn.Module, scheme: Scheme, names: Sequence[str], saved: Mapping[str, Tensor]) -> None:
    """Makes of a fresh float ``model``, in place, the quantized one that ``state()`` was taken of. Raises RuntimeError where
    names or shapes differ."""
    saved = dict(saved)
    parts = {}
    for name in names:
        key = f"{name}.weight"
        parts[name] = {one.removeprefix(f"{key}."): saved.pop(one) for one in list(saved) if one.startswith(f"{key}.")}
        if "qdata" not in parts[name]:
            raise RuntimeError(f"there is no {key}.qdata")
        if parts[name]["qdata"].dtype == torch.uint8:
            parts[name]["qdata"] = unpack(parts[name]["qdata"])
        saved[key] = torch.zeros(parts[name]["qdata"].shape)
    fit(model, saved)
    _quantize(model, scheme, names)
    for name in names:
        for part, tensor in _parts(model.get_submodule(name).weight).items():
            if part not in parts[name] or parts[name][part].shape != tensor.shape:
                raise RuntimeError(f"{name}.weight.{part} is of another shape, or not there")
            with torch.no_grad():
                tensor.copy_(parts[name][part])


def _parts(weight: Any) -> dict[str, Tensor]:
    names, _ = weight.__tensor_flatten__()
    return {name: getattr(weight, name) for name in names}


def pack(values: Tensor) -> Tensor:
    """int8 values of -8 to 7 (R, C), C even, two to a byte: uint8 (R, C / 2), the earlier in the lower half."""
    bits = (values & 0xF).to(torch.uint8)
    return bits[:, ::2] | bits[:, 1::2] << 4


def unpack(packed: Tensor) -> Tensor:
    """What ``pack`` was given."""
    both = torch.stack([packed & 0xF, packed >> 4], dim=2).flatten(1).to(torch.int8)
    return torch.where(both > 7, both - 16, both)

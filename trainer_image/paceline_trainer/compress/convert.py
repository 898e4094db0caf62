"""Applies one method to a float model: what comes of it, ready to be judged and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialized
from torch import Tensor, nn

from paceline_trainer import artifact
from paceline_trainer.compress import prune, quantize, weight_only
from paceline_trainer.compress.folders import ONNX_FILE
from paceline_trainer.compress.graph import export_onnx
from paceline_trainer.compress.judge import Candidate
from paceline_trainer.compress.request import Stage
from paceline_trainer.compress.runtimes import Eager, Onnx
from paceline_trainer.compress.subject import Data, served
from paceline_trainer.compress.weight_only import Scheme
from paceline_trainer.loaded import Loaded
from paceline_trainer.text.tokens import trimmed

# What taylor's gradients are of, and what is calibrated on together.
TAYLOR_BATCHES, BATCH = 4, 32


@dataclass(frozen=True)
class Converted:
    """``files`` by name, beside a float model's weights; ``facts`` for the manifest."""

    candidate: Candidate
    kind: str
    files: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def convert(request: Stage, loaded: Loaded, data: Data, work: Path, say: Callable[[str], None]) -> Converted:
    """``loaded`` is changed in place; ``work`` is a folder for files that are not kept. Raises CompressionError."""
    module, reached = served(loaded.model), {}
    one = data.example(1, request.measure.tokens)
    if request.method == "prune.structured":
        losses = _losses(data, request.seed)
        reached = prune.structured(module, one, request.params, dict(request.target), losses, say)
    if request.method == "prune.unstructured":
        reached = prune.unstructured(module, request.params, request.target["sparsity"], say)
    counted = prune.size(module, one)
    counts = {"parameters": counted.parameters, "nonzeroParameters": counted.nonzero, "macs": counted.macs}
    if request.method in ("quantize.weightOnly", "quantize.qat"):
        return _by_torchao(request, loaded.model, counts, say)
    plain = work / "plain.onnx"
    export_onnx(module, data.example(2, request.measure.tokens), plain)
    if request.method not in ("quantize.dynamic", "quantize.static"):
        onnx = Onnx(plain, request.measure.threads)
        return Converted(Candidate(onnx, plain.stat().st_size, counts, reached), "float")
    target = work / ONNX_FILE
    if request.method == "quantize.dynamic":
        quantize.dynamic(plain, target, request.params)
    else:
        batches = calibration(data, request.params.calibration_samples, request.seed)
        say(f"calibrating on {sum(map(len, batches))} training samples …")
        quantize.static(plain, target, request.params, batches, texts=data.texts)
    onnx, content = Onnx(target, request.measure.threads), target.read_bytes()
    return Converted(Candidate(onnx, len(content), counts, reached), "onnx", {ONNX_FILE: content})


def _by_torchao(request: Stage, model: nn.Module, counts: Mapping[str, float], say: Callable[[str], None]) -> Converted:
    params = request.params
    scheme = (
        weight_only.qat(params.scheme)
        if request.method == "quantize.qat"
        else Scheme(f"int{params.bits}-weight", params.group_size)
    )
    names = weight_only.quantize(model, scheme)
    say(
        f"{scheme.name}: {len(names)} linear layers are quantized ({', '.join(names)}); convolutions and embeddings stay floats"
    )
    content = serialized(weight_only.state(model, scheme, names))
    facts = {"scheme": asdict(scheme), "quantizedLayers": names}
    candidate = Candidate(Eager(served(model)), len(content), counts, {})
    return Converted(candidate, "torchao", {artifact.WEIGHTS: content}, facts)


def chosen(data: Data, count: int, seed: int) -> Tensor:
    """Indices of the training split, at random, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(data.training), generator=generator)[:count]


def calibration(data: Data, samples: int, seed: int) -> list[Tensor]:
    """Batches of training inputs; of texts without needless padding."""
    batches = [data.training.inputs[indices] for indices in torch.split(chosen(data, samples, seed), BATCH)]
    return [trimmed(batch).contiguous() for batch in batches] if data.texts else batches


def _losses(data: Data, seed: int) -> Callable[[nn.Module], Iterator[Tensor]]:
    indices = chosen(data, TAYLOR_BATCHES * BATCH, seed)

    def losses(module: nn.Module) -> Iterator[Tensor]:
        for part in torch.split(indices, BATCH):
            inputs = data.training.inputs[part]
            yield data.task.losses(
                module(trimmed(inputs) if data.texts else inputs), data.training.targets[part]
            ).mean()

    return losses

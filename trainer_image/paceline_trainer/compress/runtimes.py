"""A model in the runtime that serves it: inputs in, logits out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from paceline_trainer.compress.graph import INPUT, session

ONNXRUNTIME, PYTORCH = "onnxruntime", "pytorch"


class Runtime(Protocol):
    """Inputs (B, …) -> logits (B, classes), without gradients."""

    name: str

    def __call__(self, inputs: Tensor) -> Tensor: ...


class Eager:
    """A PyTorch module as it is."""

    name = PYTORCH

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self._module(inputs)
        return outputs


class Onnx:
    """A file in ONNX Runtime, with so many threads."""

    name = ONNXRUNTIME

    def __init__(self, path: Path, threads: int) -> None:
        self._session = session(path, threads)

    def __call__(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(None, {INPUT: inputs.numpy()})[0])

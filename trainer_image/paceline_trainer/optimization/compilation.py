"""torch.compile, where there is what it needs."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn


class CompileError(ValueError):
    """This machine cannot compile; says why."""


def compile_model(model: nn.Module, mode: str, device: torch.device) -> None:
    """In place, so that weights keep their names; it happens at the first step. ``mode`` is "off" or one of torch.compile's, of
    which reduce-overhead records CUDA graphs on a GPU. Raises CompileError."""
    if mode == "off":
        return
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise CompileError(
            f"compile: {mode} needs a C++ compiler; there is no {compiler}: install it, set CXX or take off"
        )
    model.compile(mode=None if mode == "default" else mode)

"""A compressed model's folder: its manifest says what made it and which files there are; it is whole where there is one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline_trainer import artifact
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.runtimes import Eager, Onnx, Runtime
from paceline_trainer.compress.subject import served
from paceline_trainer.compress.weight_only import Scheme, restore
from paceline_trainer.loaded import Loaded, ModelError, fit

ONNX_FILE, TORCH_FILE = "model.onnx", "model.pt2"
# Which file a format is in.
FILES = {"safetensors": artifact.WEIGHTS, "onnx": ONNX_FILE, "torchExport": TORCH_FILE}


def listed(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """As a manifest has them: sha256 and bytes by name."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }


def finished(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of a result that this request made, if all its files are there as they were; else None."""
    try:
        manifest: dict[str, Any] = json.loads((folder / artifact.MANIFEST).read_text(encoding="utf-8"))
        if manifest.get("request") != request:
            return None
        for name in manifest["files"]:
            content_of(folder, manifest, name)
    except (OSError, ValueError):
        return None
    return manifest


def content_of(folder: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """Of a file of the folder. Raises ModelError where it is not the one that the manifest speaks of."""
    if name not in manifest.get("files", {}):
        raise ModelError(f"there is no {name} in {folder}")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
        raise ModelError(f"{folder / name} is not the file that its manifest speaks of: its sha256 differs")
    return content


def runtime_of(folder: Path, manifest: Mapping[str, Any], fmt: str, threads: int, fresh: Loaded) -> Runtime:
    """The model in one of its formats; ``fresh``: a model of the same recipe and params, which is given the weights. Raises
    ModelError where a file is not what the manifest speaks of, CompressionError where it holds pickle."""
    from safetensors.torch import load as deserialized

    from paceline_trainer.compress.graph import load_torch

    content = content_of(folder, manifest, FILES[fmt])
    if fmt == "onnx":
        return Onnx(folder / ONNX_FILE, threads)
    if fmt == "torchExport":
        return Eager(load_torch(folder / TORCH_FILE))
    model, weights = fresh.model, deserialized(content)
    try:
        if manifest["kind"] == "torchao":
            restore(model, Scheme(**manifest["scheme"]), manifest["quantizedLayers"], weights)
        else:
            fit(model, weights)
    except RuntimeError as error:
        raise ModelError(f"the weights in {folder} do not fit the model of {fresh.recipe}: {error}") from error
    return Eager(served(model))


def fresh_model(folder: Path, manifest: Mapping[str, Any]) -> Loaded:
    """An untrained model of the manifest's recipe and params. Raises CompressionError."""
    from paceline_trainer import recipes
    from paceline_trainer.params import ParamError, parse

    try:
        params = parse(recipes.PARAMS[manifest["recipe"]], manifest["params"])
    except (ParamError, KeyError) as error:
        raise CompressionError(f"the model in {folder} is of another version of the trainer: {error}") from error
    task = recipes.load(manifest["recipe"])(params)
    model = task.model()
    task.finish(model)
    return Loaded(manifest["recipe"], params, dict(manifest), task, model.eval())

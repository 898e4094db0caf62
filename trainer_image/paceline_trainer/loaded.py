"""A model that a run has left, as it can be used again: for evaluation, as a teacher, to be trained on or compressed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load as deserialized
from torch import Tensor, nn

from paceline_trainer import recipes
from paceline_trainer.artifact import MANIFEST
from paceline_trainer.params import ParamError, parse

if TYPE_CHECKING:
    from paceline_trainer.task import Task


class ModelError(ValueError):
    """There is no such model, or not a whole one; the message names the folder and the cure."""


@dataclass(frozen=True)
class Loaded:
    """``model`` is on the CPU, in evaluation mode; ``task`` is of the run's own parameters."""

    recipe: str
    params: recipes.Training
    manifest: dict[str, Any]
    task: Task
    model: nn.Module


def manifest_of(folder: Path) -> dict[str, Any]:
    """Raises ModelError."""
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        why = "it holds no manifest.json, which a run writes last" if folder.is_dir() else "there is no such folder"
        raise ModelError(f"no model in {folder}: {why}") from error
    except ValueError as error:
        raise ModelError(f"{folder / MANIFEST} is no JSON: {error}") from error
    if missing := {"recipe", "params", "weights", "sha256"} - found.keys():
        raise ModelError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}: it is no model of a recipe")
    return found


def weights_of(folder: Path, manifest: dict[str, Any]) -> dict[str, Tensor]:
    """By name, on the CPU. Raises ModelError."""
    path = folder / manifest["weights"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ModelError(f"{path} is not the file that its manifest speaks of: its sha256 differs")
    return deserialized(content)


def load(folder: Path) -> Loaded:
    """The model of a finished run, by its manifest. Raises ModelError."""
    manifest = manifest_of(folder)
    name = manifest["recipe"]
    if name not in recipes.PARAMS:
        raise ModelError(f"the model in {folder} is of the recipe {name!r}, which this trainer does not have")
    try:
        params = parse(recipes.PARAMS[name], manifest["params"])
    except ParamError as error:
        raise ModelError(f"the model in {folder} is of another version of the trainer: {error}") from error
    task = recipes.load(name)(params)
    model = task.model()
    task.finish(model)
    try:
        fit(model, weights_of(folder, manifest))
    except RuntimeError as error:
        raise ModelError(f"the weights in {folder} do not fit the model of {name}: {error}") from error
    return Loaded(name, params, manifest, task, model.eval())


def fit(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives ``model`` these weights, in place; layers that were pruned are made as small as theirs first.

    Raises RuntimeError where names differ, or shapes of anything but the channels of linear and convolutional layers.
    """
    for name, module in list(model.named_modules()):
        weight = weights.get(f"{name}.weight")
        if weight is None or weight.shape == getattr(module, "weight", weight).shape:
            continue
        if isinstance(module, nn.Linear):
            smaller: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], module.bias is not None)
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            smaller = nn.Conv2d(
                weight.shape[1],
                weight.shape[0],
                module.kernel_size,  # type: ignore[arg-type]
                stride=module.stride,  # type: ignore[arg-type]
                padding=module.padding,  # type: ignore[arg-type]
                dilation=module.dilation,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
        else:
            continue
        model.set_submodule(name, smaller.to(module.weight))
    model.load_state_dict(weights)

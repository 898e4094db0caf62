"""The weights that a training begins with, out of the folder of a model that another run or a pruning left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from paceline_trainer import recipes
from paceline_trainer.loaded import Loaded, ModelError, fit, load, manifest_of, weights_of

_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")


def weights(params: recipes.Classification) -> dict[str, Tensor]:
    """Of ``params.start_from``, by name. Raises ModelError."""
    folder = Path(params.start_from)
    try:
        manifest = manifest_of(folder)
        _of_the_same_recipe(folder, manifest["recipe"], params)
        return weights_of(folder, manifest)
    except ModelError as error:
        raise ModelError(f"start_from: {error}") from error


def give(model: nn.Module, found: Mapping[str, Tensor], folder: str) -> None:
    """Raises ModelError where ``model`` cannot have these weights."""
    if differ := sorted(found.keys() ^ model.state_dict().keys()):
        raise ModelError(
            f"start_from: the model in {folder} has other layers than this run's ({differ[0]}, for one): "
            "set the parameters that it was made with, such as tuning"
        )
    try:
        fit(model, dict(found))
    except RuntimeError as error:
        raise ModelError(f"start_from: the weights in {folder} do not fit this run's model: {error}") from error


def teacher(params: recipes.Classification) -> Loaded:
    """Of ``params.teacher``. Raises ModelError."""
    folder = Path(params.teacher)
    try:
        _of_the_same_recipe(folder, manifest_of(folder)["recipe"], params)
        return load(folder)
    except ModelError as error:
        raise ModelError(f"teacher: {error}") from error


def _of_the_same_recipe(folder: Path, name: str, params: recipes.Classification) -> None:
    # Of another one, classes would be others; that their number may be the same makes it worse.
    if recipes.PARAMS.get(name) is not type(params):
        raise ModelError(f"the model in {folder} is of the recipe {name}: take one of the recipe that is run")


def depth(found: Mapping[str, Tensor]) -> int:
    """How many encoder layers a text model's weights are of."""
    return 1 + max((int(layer[1]) for name in found if (layer := _LAYER.search(name))), default=-1)


def evenly(layers: int, of: int) -> list[int]:
    """Which ``layers`` of so many, numbered from 0, are kept: the first, the last, and between them at even distances."""
    return [round(i * (of - 1) / max(1, layers - 1)) for i in range(layers)]

"""The recipes by name. Parameters load without torch; the task itself is imported when it is to run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

from paceline_trainer.optimization.plan import Optimization
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.params import Refusal, param

if TYPE_CHECKING:
    from paceline_trainer.task import Task


MOST_FOLDS = 20


@dataclass(frozen=True)
class Training(Plan, Optimization):
    """What every recipe takes."""

    refusals: ClassVar[tuple[Refusal, ...]] = (*Plan.refusals, *Optimization.refusals)

    epochs: int = param(10, "Passes over the training data.", minimum=1, maximum=10_000)
    batch_size: int = param(64, "Samples of one step, over all processes together.", minimum=1, maximum=1_000_000)
    lr: float = param(0.002, "Learning rate.", minimum=1e-8, maximum=100.0)
    weight_decay: float = param(0.0, "Weight decay.", minimum=0.0, maximum=1.0)
    optimizer: str = param("adamw", "Optimizer.", choices=("adamw", "sgd"))
    seed: int = param(0, "Seed of the weights and of the data's order.", minimum=0, maximum=2**31 - 1)
    deterministic: bool = param(False, "Use only algorithms that give the same result each time.")
    folds: int = param(
        0,
        "Cross-validate first, over so many folds of the training data; 0 is not at all.",
        choices=(0, *range(2, MOST_FOLDS + 1)),
    )
    patience: int = param(
        0,
        "End after so many epochs in a row without a better loss on a tenth of the training data that is kept back for it, "
        "and take the best epoch's weights; 0 trains all epochs, on all data.",
        minimum=0,
        maximum=10_000,
    )
    min_delta: float = param(0.0, "Of patience: what a loss must be lower by to be better.", minimum=0.0, maximum=1e9)
    profile: bool = param(False, "Write a trace of three steps of every process, for Perfetto or chrome://tracing.")


@dataclass(frozen=True)
class LinearRegression(Training):
    """Linear regression on scikit-learn's diabetes data (442 patients, 10 features)."""

    tensor_parallel: int = param(1, "Processes that share every divisible layer's features.", choices=(1,))
    pipeline_stages: int = param(1, "Processes that have some of the layers each, one behind the other.", choices=(1,))
    lr: float = param(0.05, "Learning rate.", minimum=1e-8, maximum=100.0)


@dataclass(frozen=True)
class ImageClassification(Training):
    """A 28×28 ten-class CNN on scikit-learn's digits (1,797 images, scaled up from 8×8)."""

    tensor_parallel: int = param(1, "Processes that share every divisible layer's features.", choices=(1, 2, 4, 8, 16))
    pipeline_stages: int = param(
        1, "Processes that have some of the layers each, one behind the other.", choices=(1, 2, 4)
    )
    width: int = param(16, "Channels of the first convolution; the second has twice as many.", minimum=1, maximum=1024)


# What may change when a run goes on from a checkpoint, how it is spread over processes too; any other parameter shapes
# the model, its state or the data's order.
MAY_CHANGE = {"epochs", "lr", "weight_decay", "min_delta", "profile"} | {
    field.name for part in (Plan, Optimization) for field in fields(part)
}

PARAMS: dict[str, type[Training]] = {
    "image-classification": ImageClassification,
    "linear-regression": LinearRegression,
}


def load(name: str) -> type[Task]:
    """The task class of a recipe: module recipes/NAME.py, class named as its parameters with `Task` behind."""
    module = import_module(f"paceline_trainer.recipes.{name.replace('-', '_')}")
    return cast("type[Task]", getattr(module, PARAMS[name].__name__ + "Task"))

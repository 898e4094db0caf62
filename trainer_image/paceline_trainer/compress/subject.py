"""A model with the data that it is judged on, and as the module that is served."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from paceline_trainer import recipes
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.loaded import Loaded, load, manifest_of
from paceline_trainer.task import Arrays, Task
from paceline_trainer.text.encoder import Classifier, mean_pool
from paceline_trainer.text.tokens import PADDING


@dataclass(frozen=True)
class Data:
    """The splits of the uncompressed model's task, which all stages are judged on. Inputs: images (N, 1, 28, 28) or token ids
    (N, T), padded with 0."""

    task: Task
    training: Arrays
    evaluation: Arrays

    @property
    def texts(self) -> bool:
        return not self.evaluation.inputs.is_floating_point()

    def example(self, batch: int, tokens: int) -> Tensor:
        """The first ``batch`` evaluation samples, from the beginning again where there are fewer; texts (batch, tokens)."""
        count = len(self.evaluation)
        chosen = self.evaluation.inputs.repeat((-(-batch // count), *[1] * (self.evaluation.inputs.ndim - 1)))[:batch]
        return fitted(chosen, tokens) if self.texts else chosen


def fitted(ids: Tensor, tokens: int) -> Tensor:
    """Token ids (B, T) cut or padded to (B, tokens)."""
    short = max(0, tokens - ids.shape[1])
    return nn.functional.pad(ids, (0, short), value=PADDING)[:, :tokens].contiguous()


def float_model(folder: Path) -> Loaded:
    """Raises ModelError, or CompressionError where the model is quantized already."""
    kind = manifest_of(folder).get("kind", "float")
    if kind != "float":
        raise CompressionError(f"the model in {folder} is quantized ({kind}): nothing can be done to it but exporting")
    return load(folder)


def data_of(recipe: str, params: recipes.Training) -> Data:
    """Raises CompressionError where the recipe's model is no classifier."""
    if isinstance(params, recipes.TextClassification) and params.tuning == "frozen":
        # Its splits are features that were computed once; what is served reads token ids, as the others do.
        params = dataclasses.replace(params, tuning="full")
    task = recipes.load(recipe)(params)
    if not task.classes:
        raise CompressionError(f"a model of {recipe} cannot be compressed: it is no classifier")
    return Data(task, *task.splits())


def same_data(source: Loaded, dataset: str) -> None:
    """Raises CompressionError where a model of this data set cannot be compared with the source."""
    if source.task.dataset != dataset:
        raise CompressionError(
            f"input: it was trained on {dataset}, the source on {source.task.dataset}: take models of one data set"
        )


class ServedText(nn.Module):
    """A text classifier without the cut to the batch's longest text, which no exported graph could do.

    Token ids (B, T), padded with 0 -> logits (B, classes); parameters have the classifier's own names.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.encoder, self.head = classifier.encoder, classifier.head

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != PADDING
        states = self.encoder.backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return cast("Tensor", self.head(mean_pool(states, mask)))


def served(model: nn.Module) -> nn.Module:
    """The module that is exported and measured; it shares its weights with ``model``."""
    return (ServedText(model) if isinstance(model, Classifier) else model).eval()

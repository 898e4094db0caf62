"""Scores on the evaluation split, by the repository's own evaluation, of a model in the runtime that serves it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from paceline_trainer.compress.runtimes import Runtime
from paceline_trainer.compress.subject import Data
from paceline_trainer.evaluation.metrics import evaluation
from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.task import Arrays
from paceline_trainer.text.tokens import lengths, trimmed

BATCH = 64
# No exported text model takes fewer tokens.
FEWEST_TOKENS = 2


def logits(
    runtime: Runtime, arrays: Arrays, progress: Callable[[float, float], None] = lambda done, total: None
) -> Tensor:
    """(N, classes) in the split's order. Texts of similar length are computed together, without padding that none needs."""
    texts = not arrays.inputs.is_floating_point()
    order = lengths(arrays.inputs).argsort(stable=True) if texts else torch.arange(len(arrays))
    found: dict[int, Tensor] = {}
    for indices in torch.split(order, BATCH):
        batch = arrays.inputs[indices]
        if texts:
            batch = batch[:, : max(FEWEST_TOKENS, trimmed(batch).shape[1])].contiguous()
        found |= dict(zip(indices.tolist(), runtime(batch), strict=True))
        progress(len(found), len(arrays))
    return torch.stack([found[i] for i in range(len(arrays))])


def scores(data: Data, outputs: Tensor, arrays: Arrays | None = None) -> dict[str, float]:
    """Every metric of these logits (N, classes), of the evaluation split or of the part of it that ``arrays`` is; the number of
    samples and the standard error of the accuracy."""
    arrays = arrays or data.evaluation
    losses = data.task.losses(outputs, arrays.targets)
    predictions = Predictions(torch.arange(len(arrays)), outputs, arrays.targets, losses)
    found = evaluation(predictions, data.task.classes).metrics
    return {
        **found,
        "evaluationSamples": len(arrays),
        **({"accuracyStandardError": standard_error(found["accuracy"], len(arrays))} if "accuracy" in found else {}),
    }


def standard_error(share: float, samples: int) -> float:
    """Of a share of so many independent samples: sqrt(p (1 - p) / n)."""
    return math.sqrt(share * (1 - share) / samples)

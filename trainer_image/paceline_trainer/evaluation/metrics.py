"""The metrics of a task from its predictions."""

from __future__ import annotations

from collections.abc import Sequence

from paceline_trainer.evaluation.classification import classification
from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.evaluation.regression import regression
from paceline_trainer.task import Evaluation


def evaluation(predictions: Predictions, classes: Sequence[str]) -> Evaluation:
    """Of a classifier, or of a regression where there are no classes.

    Outputs that are not finite, of a model that has diverged, are left out of all metrics; ``not_finite`` says their share then.
    """
    good = (
        predictions.outputs.isfinite().flatten(1).all(1)
        if predictions.outputs.ndim > 1
        else predictions.outputs.isfinite()
    )
    good &= predictions.losses.isfinite()
    if not good.any():
        return Evaluation({"not_finite": 1.0}, {})
    if not good.all():
        predictions = Predictions(
            predictions.indices[good], predictions.outputs[good], predictions.targets[good], predictions.losses[good]
        )
    found = classification(predictions, classes) if classes else regression(predictions)
    if good.all():
        return found
    return Evaluation({**found.metrics, "not_finite": 1 - float(good.double().mean())}, found.details)

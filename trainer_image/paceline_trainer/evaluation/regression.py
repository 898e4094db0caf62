"""Metrics of a regression, by scikit-learn."""

from __future__ import annotations

from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.task import Evaluation

# Of the plot of predictions over targets.
POINTS = 500


def regression(predictions: Predictions) -> Evaluation:
    """Of outputs (N,) and targets (N,): errors in the target's unit (squared for mse), and R², the explained share of variance.

    R² of fewer than two samples is absent.
    """
    from sklearn import metrics as sk

    true, said = predictions.targets.double().numpy(), predictions.outputs.double().numpy()
    found = {
        "mse": float(sk.mean_squared_error(true, said)),
        "mae": float(sk.mean_absolute_error(true, said)),
        **({"r2": float(sk.r2_score(true, said))} if len(true) > 1 else {}),
        "loss": float(predictions.losses.double().mean()),
    }
    return Evaluation(found, {"points": {"target": true[:POINTS].tolist(), "prediction": said[:POINTS].tolist()}})

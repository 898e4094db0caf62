"""Metrics of a classifier, by scikit-learn, and the tables that its report shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.task import Evaluation

CALIBRATION_BINS = 15
# Of a curve in the report; more than a plot can show.
CURVE_POINTS = 200
# exp() of more is no double.
LARGEST_LOG = 700.0


def classification(predictions: Predictions, classes: Sequence[str]) -> Evaluation:
    """Of logits (N, C) and class indices (N,). Precision, recall, F1 and ROC-AUC are unweighted means over classes.

    A class that is never predicted has precision 0, one that never occurs recall 0 (scikit-learn's ``zero_division=0``). ROC-AUC
    is each class against the rest, over the classes that some samples have and others have not; where there is no such class it
    is absent, as calling it 0 or NaN would say what nobody knows.
    """
    from sklearn import metrics as sk  # a second, which only this moment of a run needs

    probabilities = predictions.outputs.double().softmax(1).numpy()
    true, said = predictions.targets.numpy(), predictions.outputs.argmax(1).numpy()
    labels = list(range(len(classes)))
    loss = float(predictions.losses.double().mean())
    macro = sk.precision_recall_fscore_support(true, said, labels=labels, average="macro", zero_division=0)
    by_class = sk.precision_recall_fscore_support(true, said, labels=labels, zero_division=0)
    # Of two classes, the second one's: the first's is the same, mirrored.
    curves = {
        classes[i]: sk.roc_curve(true == i, probabilities[:, i])
        for i in (labels[1:] if len(classes) == 2 else labels)
        if 0 < (true == i).sum() < len(true)
    }
    areas = {name: float(sk.auc(false, right)) for name, (false, right, _) in curves.items()}
    bins = calibration_bins(probabilities, true)
    found = {
        "accuracy": float(sk.accuracy_score(true, said)),
        "precision": float(macro[0]),
        "recall": float(macro[1]),
        "f1": float(macro[2]),
        "f1_micro": float(sk.f1_score(true, said, labels=labels, average="micro", zero_division=0)),
        **({"roc_auc": float(np.mean(list(areas.values())))} if areas else {}),
        "loss": loss,
        "perplexity": math.exp(min(loss, LARGEST_LOG)),
        "calibration_error": calibration_error(bins),
        "brier": float(((probabilities - np.eye(len(classes))[true]) ** 2).sum(1).mean()),
    }
    details: dict[str, Any] = {
        "classes": list(classes),
        "confusion_matrix": sk.confusion_matrix(true, said, labels=labels).tolist(),
        "by_class": [
            {
                "class": classes[i],
                "precision": float(by_class[0][i]),
                "recall": float(by_class[1][i]),
                "f1": float(by_class[2][i]),
                "roc_auc": areas.get(classes[i]),
                "samples": int(by_class[3][i]),
            }
            for i in labels
        ],
        "roc": {
            name: {"false_positive_rate": thinned(f), "true_positive_rate": thinned(t)}
            for name, (f, t, _) in curves.items()
        },
        "calibration": bins,
    }
    return Evaluation(found, details)


def calibration_bins(probabilities: NDArray[np.float64], true: NDArray[np.int64]) -> list[dict[str, float]]:
    """Of samples with about the same confidence: how sure the model was, and how often it was right (Guo et al. 2017).

    ``probabilities`` (N, C), ``true`` (N,). Bins are of equal width; a bin without samples is left out.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == true
    # A confidence that is a bin's upper edge belongs to it.
    which = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    return [
        {
            "samples": int((which == i).sum()),
            "confidence": float(confidence[which == i].mean()),
            "accuracy": float(right[which == i].mean()),
        }
        for i in range(CALIBRATION_BINS)
        if (which == i).any()
    ]


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """The expected calibration error: the mean distance of confidence and accuracy, weighted by samples."""
    total = sum(one["samples"] for one in bins)
    return sum(one["samples"] / total * abs(one["confidence"] - one["accuracy"]) for one in bins)


def thinned(curve: NDArray[np.float64]) -> list[float]:
    """At most CURVE_POINTS of them, the first and the last among them."""
    if len(curve) <= CURVE_POINTS:
        return [float(value) for value in curve]
    return [float(value) for value in curve[np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int)]]

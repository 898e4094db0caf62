"""The report's pictures, as PNG in memory. By matplotlib's objects, without pyplot's state and without a screen."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # matplotlib is loaded when there is something to draw, by the one process that draws
    from matplotlib.axes import Axes

# More classes than this cannot be told apart in a legend or a cell.
LEGEND_CLASSES = 12
LABELLED_CELLS = 20
LOSSES, CONFUSION, ROC, CALIBRATION, POINTS = (
    "loss.png",
    "confusion.png",
    "roc.png",
    "calibration.png",
    "predictions.png",
)


def pictures(losses: Sequence[float], steps_per_epoch: int, details: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> PNG, of what there is: the losses of all steps, and the tables of classification() or regression()."""
    found = {LOSSES: _picture(lambda axes: _losses(axes, losses, steps_per_epoch), 6.4, 4.0)}
    if "confusion_matrix" in details:
        found[CONFUSION] = _picture(
            lambda axes: _confusion(axes, details["confusion_matrix"], details["classes"]), 6.0, 5.2
        )
        found[CALIBRATION] = _picture(lambda axes: _calibration(axes, details["calibration"]), 4.8, 4.6)
    if details.get("roc"):
        found[ROC] = _picture(lambda axes: _roc(axes, details["roc"]), 4.8, 4.6)
    if "points" in details:
        found[POINTS] = _picture(lambda axes: _points(axes, details["points"]), 4.8, 4.6)
    return found


def _picture(draw: Callable[[Axes], None], width: float, height: float) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure.add_subplot())
    image = io.BytesIO()
    # No date and no version in the file: the same run makes the same bytes.
    FigureCanvasAgg(figure)
    figure.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def _losses(axes: Axes, losses: Sequence[float], steps_per_epoch: int) -> None:
    axes.plot(range(1, len(losses) + 1), losses, linewidth=0.6, alpha=0.5, label="step")
    ends = list(range(steps_per_epoch, len(losses) + 1, steps_per_epoch))
    means = [_mean(losses[end - steps_per_epoch : end]) for end in ends]
    axes.plot(ends, means, linewidth=1.8, marker="." if len(ends) < 40 else "", label="epoch's mean")
    axes.set(title="training loss", xlabel="step", ylabel="loss")
    positive = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    if positive and max(positive) > 30 * min(positive):
        axes.set_yscale("log")
    axes.legend()


def _mean(losses: Sequence[float]) -> float:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else math.nan


def _confusion(axes: Axes, matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    shares = [[cell / (sum(row) or 1) for cell in row] for row in matrix]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, label="share of the true class")
    axes.set(title="confusion matrix", xlabel="predicted", ylabel="true")
    if len(classes) > LABELLED_CELLS:
        return
    axes.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(range(len(classes)), classes)
    for i, row in enumerate(matrix):
        for j, cell in enumerate(row):
            if cell:
                axes.text(j, i, str(cell), ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")


def _roc(axes: Axes, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for name, curve in curves.items():
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], linewidth=1.2, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.set(title="ROC, each class against the rest", xlabel="false positive rate", ylabel="true positive rate")
    if len(curves) <= LEGEND_CLASSES:
        axes.legend()


def _calibration(axes: Axes, bins: Sequence[Mapping[str, float]]) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    largest = max(one["samples"] for one in bins)
    axes.plot([one["confidence"] for one in bins], [one["accuracy"] for one in bins], linewidth=0.8)
    sizes = [10 + 150 * one["samples"] / largest for one in bins]
    axes.scatter([one["confidence"] for one in bins], [one["accuracy"] for one in bins], s=sizes, alpha=0.6)
    axes.set(
        title="calibration (area: samples)", xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(-0.03, 1.05)
    )


def _points(axes: Axes, points: Mapping[str, Sequence[float]]) -> None:
    axes.scatter(points["target"], points["prediction"], s=8, alpha=0.6)
    low, high = min(points["target"]), max(points["target"])
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8, linestyle="--")
    axes.set(title="predictions", xlabel="target", ylabel="prediction")

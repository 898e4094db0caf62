"""The report as a page to read: what was trained, how well it does, and where it errs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from paceline_trainer.evaluation import plots

MEANING = {
    plots.LOSSES: "Loss of every step, and each epoch's mean",
    plots.CONFUSION: "Confusion matrix",
    plots.ROC: "ROC",
    plots.CALIBRATION: "Calibration: how often it is right when it is so sure",
    plots.POINTS: "Predictions over targets",
}


def markdown(manifest: Mapping[str, Any], report: Mapping[str, Any], pictures: Collection[str]) -> str:
    """``manifest`` and ``report`` as they are in the JSON files; ``pictures``: which there are beside it."""
    head = (
        f"# {manifest['recipe']}\n\n{manifest['dataset']}; {manifest['parameters']} parameters; "
        f"{manifest['world_size']} processes; {manifest['seconds']:.1f} s of training.\n"
    )
    metrics = table(("metric", "value"), [(name, figure(value)) for name, value in report["evaluation"].items()])
    parts = [head, f"## Evaluation\n\nOn {report['samples']} samples that were not trained on.\n\n{metrics}"]
    if report.get("step_seconds"):
        total = sum(report["step_seconds"].values())
        times = [
            (name, f"{1000 * value:.2f} ms", f"{value / total:.0%}") for name, value in report["step_seconds"].items()
        ]
        parts.append(
            "## A step's time\n\nOf rank 0, by a few steps. Communication is what no computation hides; waiting for others is "
            f"part of it.\n\n{table(('part', 'time', 'share'), times)}"
        )
    if report.get("by_class"):
        columns = list(report["by_class"][0])
        rows = [[figure(one[column]) for column in columns] for one in report["by_class"]]
        parts.append(f"## By class\n\n{table(columns, rows)}")
    if report.get("folds"):
        parts.append(_folds(report["folds"]))
    if report.get("confusion_matrix"):
        text = confusion_table(report["confusion_matrix"], report["classes"])
        parts.append(f"## Confusion matrix\n\n```\n{text}\n```\n")
    parts += [f"## {MEANING[name]}\n\n![{MEANING[name]}]({name})\n" for name in pictures]
    by_epoch = [
        (str(i), "left out" if loss is None else figure(loss)) for i, loss in enumerate(report["loss_by_epoch"], 1)
    ]
    parts.append(f"## Loss by epoch\n\n{table(('epoch', 'loss'), by_epoch)}")
    parts.append(f"## How it was made\n\n```json\n{json.dumps(manifest['params'], indent=2)}\n```\n")
    return "\n".join(parts)


def _folds(folds: Mapping[str, Any]) -> str:
    names = list(folds["mean"])
    rows = [(name, figure(folds["mean"][name]), figure(folds["deviation"][name])) for name in names]
    rows_each = [[str(i), *(figure(fold.get(name)) for name in names)] for i, fold in enumerate(folds["each"], 1)]
    return (
        f"## Cross-validation\n\n{len(folds['each'])} folds of the training split.\n\n"
        f"{table(('metric', 'mean', 'standard deviation'), rows)}\n{table(('fold', *names), rows_each)}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def confusion_table(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """The confusion matrix as text: rows are true classes, columns predicted ones."""
    corner = "true\\pred"
    first = max(len(corner), *map(len, classes))
    width = max(*(len(str(cell)) for row in matrix for cell in row), *map(len, classes)) + 2
    head = f"{corner:>{first}}" + "".join(f"{name:>{width}}" for name in classes)
    rows = [
        f"{name:>{first}}" + "".join(f"{cell or '.':>{width}}" for cell in row)
        for name, row in zip(classes, matrix, strict=True)
    ]
    return "\n".join([head, *rows])


def summary(metrics: Mapping[str, float], details: Mapping[str, Any]) -> str:
    """For the log."""
    figures = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    matrix = details.get("confusion_matrix")
    return f"{figures}\n{confusion_table(matrix, details['classes'])}" if matrix else figures

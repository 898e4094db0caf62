"""What a run leaves behind: weights, manifest and report in one folder. Where there is a manifest, all the rest is there."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialized
from torch import Tensor

from paceline_trainer.task import Evaluation

WEIGHTS, MANIFEST, REPORT_JSON, REPORT_MD = "model.safetensors", "manifest.json", "report.json", "report.md"


def save(folder: Path, state: dict[str, Tensor], facts: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """Writes the folder and returns its manifest: ``facts``, the weights' sha256 and the number of parameters.

    ``state``: weights by name, contiguous, on the CPU. An earlier result in the same place is replaced. Raises OSError where
    the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not save_file(): the file it makes has mode 0600, which hides the model from a pod of another user.
    weights = serialized(state)
    _partial(folder, WEIGHTS).write_bytes(weights)
    manifest = {
        "format": "safetensors",
        "weights": WEIGHTS,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "parameters": sum(weight.numel() for weight in state.values()),
        "torch": torch.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    _partial(folder, MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _partial(folder, REPORT_JSON).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _partial(folder, REPORT_MD).write_text(markdown(manifest, report), encoding="utf-8")
    _publish(folder)
    return manifest


def _partial(folder: Path, name: str) -> Path:
    # Inside the folder: it may be a volume's mount point, whose parent is not ours to write to.
    return folder / f".{name}.partial"


def _publish(folder: Path) -> None:
    """Gives the finished files their names, durably. The old manifest goes first and the new one comes last, so that an end
    in the middle (SIGKILL, a lost node) leaves no manifest, never one that speaks of other weights."""
    names = (WEIGHTS, REPORT_JSON, REPORT_MD, MANIFEST)
    for name in names:
        _sync(_partial(folder, name))
    (folder / MANIFEST).unlink(missing_ok=True)
    _sync(folder)
    for name in names:
        _partial(folder, name).replace(folder / name)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def confusion_table(matrix: list[list[int]]) -> str:
    """The confusion matrix as text: rows are true classes, columns predicted ones."""
    width = max(len(str(cell)) for row in matrix for cell in row) + 2
    head = "true\\pred" + "".join(f"{column:>{width}}" for column in range(len(matrix)))
    rows = [f"{i:>9}" + "".join(f"{cell or '.':>{width}}" for cell in row) for i, row in enumerate(matrix)]
    return "\n".join([head, *rows])


def summary(evaluation: Evaluation) -> str:
    figures = "  ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
    matrix = evaluation.details.get("confusion_matrix")
    return f"{figures}\n{confusion_table(matrix)}" if matrix else figures


def markdown(manifest: dict[str, Any], report: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in report["evaluation"].items())
    by_epoch = enumerate(report["loss_by_epoch"], 1)
    losses = "\n".join(f"| {i} | {'left out' if loss is None else f'{loss:.4f}'} |" for i, loss in by_epoch)
    matrix = report.get("confusion_matrix")
    confusion = f"\n## Confusion matrix\n\n```\n{confusion_table(matrix)}\n```\n" if matrix else ""
    return (
        f"# {manifest['recipe']}\n\n{manifest['dataset']}; {manifest['parameters']} parameters; "
        f"{manifest['world_size']} processes; {manifest['seconds']:.1f} s of training.\n\n"
        f"## Evaluation\n\n| metric | value |\n| --- | --- |\n{rows}\n{confusion}\n"
        f"## Loss by epoch\n\n| epoch | loss |\n| --- | --- |\n{losses}\n"
    )

"""What a run leaves behind: weights, manifest and report in one folder, which appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from paceline_trainer.task import Evaluation

WEIGHTS, MANIFEST, REPORT_JSON, REPORT_MD = "model.safetensors", "manifest.json", "report.json", "report.md"


def save(folder: Path, model: nn.Module, facts: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """Writes the folder and returns its manifest: ``facts``, the weights' sha256 and the number of parameters.

    An earlier result in the same place is replaced. Raises OSError where the disk is full or read-only.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, partial / WEIGHTS)
    manifest = {
        "format": "safetensors",
        "weights": WEIGHTS,
        "sha256": hashlib.sha256((partial / WEIGHTS).read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (partial / REPORT_JSON).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (partial / REPORT_MD).write_text(markdown(manifest, report), encoding="utf-8")
    for file in partial.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    _swap(partial, folder)
    return manifest


def _swap(partial: Path, folder: Path) -> None:
    """Put the finished folder in place. A mount point cannot be renamed over: there the files move one by one."""
    if os.path.ismount(folder):
        for file in partial.iterdir():
            shutil.move(file, folder / file.name)
        partial.rmdir()
        return
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


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
    losses = "\n".join(f"| {i} | {loss:.4f} |" for i, loss in enumerate(report["loss_by_epoch"], 1))
    matrix = report.get("confusion_matrix")
    confusion = f"\n## Confusion matrix\n\n```\n{confusion_table(matrix)}\n```\n" if matrix else ""
    return (
        f"# {manifest['recipe']}\n\n{manifest['dataset']}; {manifest['parameters']} parameters; "
        f"{manifest['world_size']} processes; {manifest['seconds']:.1f} s of training.\n\n"
        f"## Evaluation\n\n| metric | value |\n| --- | --- |\n{rows}\n{confusion}\n"
        f"## Loss by epoch\n\n| epoch | loss |\n| --- | --- |\n{losses}\n"
    )

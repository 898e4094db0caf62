"""What a run leaves behind: weights, manifest and report in one folder. Where there is a manifest, all the rest is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save as serialized
from torch import Tensor

from paceline_trainer.evaluation.report import markdown

WEIGHTS, MANIFEST, REPORT_JSON, REPORT_MD = "model.safetensors", "manifest.json", "report.json", "report.md"


def save(
    folder: Path,
    state: dict[str, Tensor],
    facts: dict[str, Any],
    report: dict[str, Any],
    pictures: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes the folder and returns its manifest: ``facts``, the weights' sha256 and the number of parameters.

    ``state``: weights by name, contiguous, on the CPU; ``pictures``: PNG by file name. An earlier result in the same place is
    replaced. Raises OSError where the disk is full or read-only.
    """
    # Not save_file(): the file it makes has mode 0600, which hides the model from a pod of another user.
    weights = serialized(state)
    manifest = {
        "format": "safetensors",
        "weights": WEIGHTS,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "parameters": sum(weight.numel() for weight in state.values()),
        "torch": torch.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    files = {
        WEIGHTS: weights,
        REPORT_JSON: (json.dumps(report, indent=2) + "\n").encode(),
        REPORT_MD: markdown(manifest, report, pictures).encode(),
        **pictures,
    }
    write(folder, files, manifest)
    return manifest


def write(folder: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Writes all of these files into the folder, and the manifest last. Raises OSError as ``save`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (json.dumps(manifest, indent=2) + "\n").encode()
    for name, content in {**files, MANIFEST: text}.items():
        _partial(folder, name).write_bytes(content)
    _publish(folder, (*files, MANIFEST))


def _partial(folder: Path, name: str) -> Path:
    # Inside the folder: it may be a volume's mount point, whose parent is not ours to write to.
    return folder / f".{name}.partial"


def _publish(folder: Path, names: Sequence[str]) -> None:
    """Gives the finished files their ``names``, durably. The old manifest goes first and the new one comes last, so that an end
    in the middle (SIGKILL, a lost node) leaves no manifest, never one that speaks of other weights."""
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

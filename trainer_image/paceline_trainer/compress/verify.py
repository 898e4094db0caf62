"""Every exported file is read again by a process that knows nothing but the folder, and must say what the model said."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.runtimes import Runtime
from paceline_trainer.compress.scores import logits, scores
from paceline_trainer.compress.subject import Data

# Of the evaluation split, its first.
SAMPLES = 128
# Logits may differ by this much: another runtime adds in another order.
TOLERANCE = 1e-3
SECONDS = 900.0


@dataclass(frozen=True)
class Expected:
    """What the model that was measured says: logits (N, classes) and their accuracy."""

    outputs: Tensor
    accuracy: float


def expected(runtime: Runtime, data: Data) -> Expected:
    part = data.evaluation[torch.arange(min(SAMPLES, len(data.evaluation)))]
    outputs = logits(runtime, part)
    return Expected(outputs, scores(data, outputs, part)["accuracy"])


def reloaded(folder: Path, fmt: str, threads: int, wanted: Expected, work: Path) -> dict[str, float]:
    """How far the logits of a fresh process are from what is ``wanted``, at most, and their accuracy. Raises CompressionError
    where they are another model's."""
    target = work / f"{fmt}.npy"
    arguments = ["--folder", str(folder), "--format", fmt, "--threads", str(threads), "--samples", str(SAMPLES)]
    command = [sys.executable, "-m", "paceline_trainer.compress.reload", *arguments, "--outputs", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise CompressionError(f"the exported {fmt} cannot be read again: {done.stderr.strip()[-2000:]}")
    found = torch.from_numpy(np.load(target, allow_pickle=False))
    accuracy = float(json.loads(done.stdout.splitlines()[-1])["accuracy"])
    return compared(fmt, wanted, Expected(found, accuracy))


def compared(fmt: str, wanted: Expected, found: Expected) -> dict[str, float]:
    """Raises CompressionError where logits differ by more than the tolerance, or predictions or accuracy do."""
    if found.outputs.shape != wanted.outputs.shape:
        raise CompressionError(f"the exported {fmt} gives outputs of shape {tuple(found.outputs.shape)}")
    difference = float((found.outputs - wanted.outputs).abs().max())
    others = int((found.outputs.argmax(1) != wanted.outputs.argmax(1)).sum())
    if not difference <= TOLERANCE or others or found.accuracy != wanted.accuracy:
        raise CompressionError(
            f"the exported {fmt} is not the model that was measured: logits differ by up to {difference:.2g}, {others} of "
            f"{len(wanted.outputs)} predictions and the accuracy of {wanted.accuracy:.4f} ({found.accuracy:.4f})"
        )
    return {"maxDifference": difference, "accuracy": found.accuracy}

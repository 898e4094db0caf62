"""Accuracy on tweets of a student of two layers that has a tenth of the labels: on these alone, and with a teacher on the rest.

python -m tests.trainer.distilled_text FOLDER SEED [SEED ...] [--epochs N] [--labelled SHARE]

The teacher, with six layers, has the same labels and no more. Students that see the unlabelled texts make more steps an epoch; of
those on hard labels one has as many steps, and one as many epochs as the teacher, lest it learn them by heart. Each run goes to
FOLDER/NAME/SEED; what is there already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

LAYERS, TEACHERS_EPOCHS = 2, 3
NAMES = {
    "teacher": "teacher, 6 layers",
    "hard": "hard labels only",
    "hard-long": "hard labels only, as many steps as the others",
    "soft": "soft targets",
    "soft-pseudo": "soft targets and pseudo-labels",
}


def params(name: str, seed: int, folder: Path, epochs: int, labelled: float) -> dict[str, Any]:
    common = {"seed": seed, "labelled": labelled, "warmup_steps": 50}
    if name == "teacher":
        return {**common, "epochs": TEACHERS_EPOCHS}
    student = {**common, "layers": LAYERS, "lr": 1e-4}
    if name.startswith("hard"):
        return {**student, "epochs": TEACHERS_EPOCHS if name == "hard" else round(epochs / labelled)}
    taught = {**student, "epochs": epochs, "teacher": str(folder / "teacher" / str(seed)), "alpha": 0.9}
    return taught if name == "soft" else {**taught, "alpha": 0.5, "confidence": 0.9}


def accuracy(folder: Path, values: dict[str, Any]) -> float:
    """Of 1."""
    report = folder / "report.json"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "paceline_trainer.run", "--recipe", "sentiment-analysis"]
        with (folder / "log").open("w") as log:
            subprocess.run([*command, "--params", json.dumps(values), "--output", folder], check=True, stdout=log)
    return float(json.loads(report.read_text())["evaluation"]["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--labelled", type=float, default=0.1)
    args = parser.parse_args()
    print("| student | accuracy, % | standard error |\n| --- | --- | --- |")
    for name, words in NAMES.items():
        found = [
            100 * accuracy(args.folder / name / str(seed), params(name, seed, args.folder, args.epochs, args.labelled))
            for seed in args.seeds
        ]
        error = f"{statistics.stdev(found) / math.sqrt(len(found)):.2f}" if len(found) > 1 else "one seed"
        print(f"| {words} | {statistics.mean(found):.2f} | {error} |", flush=True)


if __name__ == "__main__":
    main()

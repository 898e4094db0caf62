"""Accuracy of a student of two layers that has a few of the labels: on these alone, and with a teacher on the other texts.

python -m tests.trainer.distilled_text FOLDER SEED [SEED ...] [--recipe NAME] [--labelled SHARE] [--epochs N] [--hard-epochs N]

The teacher is the model that is to be made smaller: it was trained with all labels, which its students do not have. Students that
see the unlabelled texts make more steps; of those on hard labels one has as many, and one fewer, lest it learn them by
heart. Each run goes to FOLDER/NAME/SEED; what is there already is not trained again.
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

LAYERS, TOKENS = 2, 64
NAMES = {
    "teacher": "teacher, 6 layers, all labels",
    "hard": "hard labels only",
    "hard-long": "hard labels only, as many steps as the others",
    "soft": "soft targets",
    "soft-pseudo": "soft targets and pseudo-labels",
}


def params(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    common = {"seed": seed, "max_tokens": TOKENS}
    if name == "teacher":
        return {**common, "tuning": "frozen", "epochs": 20, "lr": 0.002}
    student = {**common, "labelled": args.labelled, "warmup_steps": 20, "layers": LAYERS, "lr": 1e-4}
    if name.startswith("hard"):
        return {**student, "epochs": args.hard_epochs if name == "hard" else round(args.epochs / args.labelled)}
    taught = {**student, "epochs": args.epochs, "teacher": str(args.folder / "teacher" / str(seed)), "alpha": 0.9}
    return taught if name == "soft" else {**taught, "alpha": 0.5, "confidence": 0.9}


def accuracy(recipe: str, folder: Path, values: dict[str, Any]) -> float:
    """Of 1."""
    report = folder / "report.json"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "paceline_trainer.run", "--recipe", recipe]
        with (folder / "log").open("w") as log:
            subprocess.run([*command, "--params", json.dumps(values), "--output", folder], check=True, stdout=log)
    return float(json.loads(report.read_text())["evaluation"]["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--recipe", default="topic-classification")
    parser.add_argument("--labelled", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=3, help="of students that see the unlabelled texts")
    parser.add_argument("--hard-epochs", type=int, default=20)
    args = parser.parse_args()
    print("| student | accuracy, % | standard error |\n| --- | --- | --- |")
    for name, words in NAMES.items():
        found = [
            100 * accuracy(args.recipe, args.folder / name / str(seed), params(name, seed, args)) for seed in args.seeds
        ]
        error = f"{statistics.stdev(found) / math.sqrt(len(found)):.2f}" if len(found) > 1 else "one seed"
        print(f"| {words} | {statistics.mean(found):.2f} | {error} |", flush=True)


if __name__ == "__main__":
    main()

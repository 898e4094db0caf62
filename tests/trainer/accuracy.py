"""Accuracy on the evaluation split of what docs/accuracy.md trains, over three seeds: mean and standard deviation.

python -m tests.trainer.accuracy FOLDER [RECIPE ...]

Each run's model and report go to FOLDER/RECIPE/SEED; what is there already is not trained again.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

SEEDS = (0, 1, 2)
RUNS = {
    "image-classification": {"epochs": 30, "crop": 2, "schedule": "cosine"},
    "topic-classification": {"epochs": 4, "max_tokens": 192, "warmup_steps": 20},
    "sentiment-analysis": {"epochs": 2, "warmup_steps": 50},
}


def accuracy(recipe: str, seed: int, folder: Path) -> float:
    """Of 1."""
    report = folder / "report.json"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        params = json.dumps({**RUNS[recipe], "seed": seed})
        command = [sys.executable, "-m", "paceline_trainer.run", "--recipe", recipe, "--params", params]
        with (folder / "log").open("w") as log:
            subprocess.run([*command, "--output", folder], check=True, stdout=log)
    return float(json.loads(report.read_text())["evaluation"]["accuracy"])


def main() -> None:
    folder, recipes = Path(sys.argv[1]), sys.argv[2:] or list(RUNS)
    print("| recipe | parameters | accuracy, % | standard deviation |\n| --- | --- | --- | --- |")
    for recipe in recipes:
        found = [100 * accuracy(recipe, seed, folder / recipe / str(seed)) for seed in SEEDS]
        row = recipe, json.dumps(RUNS[recipe]), f"{statistics.mean(found):.2f}", f"{statistics.stdev(found):.2f}"
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

"""Size, latency and accuracy of the project's own models, compressed, over some seeds; for docs/compression.md.

python -m tests.trainer.compression_figures FOLDER SEED [SEED ...] [--models cnn minilm]

Everything goes to FOLDER/MODEL/SEED/STAGE; trainings that are there are not repeated. Ratios of latency are of medians in
one process; the table has their mean over the seeds, and their range.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

RECOVER = {"epochs": 25, "alpha": 0.7, "temperature": 4.0}
STUDENT = {"tuning": "full", "layers": 1, "epochs": 4, "lr": 1e-4, "alpha": 0.7, "temperature": 3.0}
# By model: recipe, its parameters, and the stages, each with the one that it goes on from. A dict trains; a method converts.
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, tuple[str, Any, dict[str, float]]]]] = {
    "cnn": (
        "image-classification",
        {"epochs": 30},
        {
            "pruned": ("source", "prune.structured", {"macsRatio": 0.1}),
            "recovered": ("pruned", RECOVER, {}),
            "int8": ("recovered", "quantize.static", {}),
        },
    ),
    "minilm": (
        "topic-classification",
        {"tuning": "frozen", "epochs": 20, "lr": 0.002, "max_tokens": 64},
        {
            "int8": ("source", "quantize.dynamic", {}),
            "student": ("source", STUDENT, {}),
            "student-int8": ("student", "quantize.dynamic", {}),
        },
    ),
}


def run(*arguments: str, log: Path) -> None:
    with log.open("w") as file:
        subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=file)


def train(recipe: str, values: dict[str, Any], folder: Path) -> None:
    if not (folder / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        params = json.dumps(values)
        run("paceline_trainer.run", "--recipe", recipe, "--params", params, "--output", str(folder), log=folder / "log")


def measured(source: Path, given: Path, output: Path, method: str, target: dict[str, float]) -> dict[str, float]:
    output.mkdir(parents=True, exist_ok=True)
    folders = {"source": str(source), "input": str(given), "output": str(output)}
    request = {"do": "stage", "method": method, "target": target, **folders}
    run("paceline_trainer.compress", "--request", json.dumps(request), log=output / "log")
    found: dict[str, float] = json.loads((output / "manifest.json").read_text())["metrics"]
    return found


def stages(model: str, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    recipe, values, chain = MODELS[model]
    own = {**values, "seed": seed}
    source = folder / "source"
    train(recipe, own, source)
    found = {"source": measured(source, source, folder / "source-measured", "none", {})}
    for name, (before, what, target) in chain.items():
        given, output = folder / before, folder / name
        if isinstance(what, dict):
            train(recipe, {**own, **what, "start_from": str(given), "teacher": str(source)}, output)
            found[name] = measured(source, output, folder / f"{name}-measured", "none", {})
        else:
            found[name] = measured(source, given, output, what, target)
    return found


def over(values: list[float], form: str) -> str:
    return f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    args = parser.parse_args()
    print(
        "| model | stage | smaller | faster than FP32 ONNX Runtime | than eager PyTorch | accuracy, % | of the source's |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for model in args.models:
        by_seed = [stages(model, seed, args.folder / model / str(seed)) for seed in args.seeds]
        for name in by_seed[0]:
            rows = [found[name] for found in by_seed]
            sources = [found["source"] for found in by_seed]
            print(
                f"| {model} | {name}",
                over([r["baselineSizeBytes"] / r["sizeBytes"] for r in rows], ".1f"),
                over([r["onnxLatencyP50"] / r["latencyP50"] for r in rows], ".2f"),
                over([r["eagerLatencyP50"] / r["latencyP50"] for r in rows], ".2f"),
                over([100 * r["accuracy"] for r in rows], ".2f"),
                over([r["accuracy"] / s["accuracy"] for r, s in zip(rows, sources, strict=True)], ".3f") + " |",
                sep=" | ",
                flush=True,
            )


if __name__ == "__main__":
    main()

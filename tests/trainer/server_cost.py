"""Accuracy and staleness of the digits with a parameter server, beside all-reduce: three seeds each. Prints a table.

python -m tests.trainer.server_cost

Four processes on this machine: with the server three of them are workers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.trainer.conftest import run_recipe

WAYS: dict[str, dict[str, Any]] = {
    "`ddp`": {},
    "`server`": {"parallel": "server"},
    "`server`, `staleness: 2`": {"parallel": "server", "staleness": 2},
    "`server`, `staleness: 2`, a third of the rate": {"parallel": "server", "staleness": 2, "lr": 0.002 / 3},
    "`server`, `staleness: 16`, a third of the rate": {"parallel": "server", "staleness": 16, "lr": 0.002 / 3},
}


def main() -> None:
    print("| `parallel` | accuracy, % | staleness, mean | most |\n| --- | --- | --- | --- |")
    for name, params in WAYS.items():
        accuracy, mean, most = [], [], []
        for seed in (0, 1, 2):
            with tempfile.TemporaryDirectory() as folder:
                given = {"epochs": 20, "batch_size": 60, "seed": seed, **params}
                found = run_recipe(Path(folder), "image-classification", given, 4)
            accuracy.append(f"{100 * found['manifest']['metrics']['accuracy']:.1f}")
            staleness = found["report"].get("staleness", {"mean": 0, "max": 0})
            mean.append(f"{staleness['mean']:.2f}")
            most.append(str(staleness["max"]))
        print("|", " | ".join([name, *(", ".join(found) for found in (accuracy, mean, most))]), "|", flush=True)


if __name__ == "__main__":
    main()

"""Real torchrun processes on this machine: CPU, gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "trainer_image"), "OMP_NUM_THREADS": "1", **more}


def run_recipe(output: Path, recipe: str, params: dict[str, Any], processes: int, **env: str) -> dict[str, Any]:
    """Runs a recipe to its end; its manifest, report and output."""
    launcher = [sys.executable, "-m"] + (
        ["torch.distributed.run", f"--nproc-per-node={processes}", "-m"] if processes > 1 else []
    )
    command = [
        *launcher,
        "paceline_trainer.run",
        "--recipe",
        recipe,
        "--params",
        json.dumps(params),
        "--output",
        str(output),
    ]
    done = subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = {name: json.loads((output / f"{name}.json").read_text(encoding="utf-8")) for name in ("manifest", "report")}
    return {**read, "stdout": done.stdout}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recipe's result by (recipe, processes); each is run once."""
    results: dict[tuple[str, int], dict[str, Any]] = {}

    def get(recipe: str, processes: int) -> dict[str, Any]:
        if (recipe, processes) not in results:
            output = tmp_path_factory.mktemp(recipe) / "output"
            # 3 processes of a batch of 50 have uneven parts in every step, and fewer samples than processes in none.
            # SGD: Adam divides by the gradients' own size, and makes of the last bit's rounding a difference in the third.
            params = {"epochs": 3, "batch_size": 50, "seed": 7, "optimizer": "sgd", "lr": 0.02}
            results[recipe, processes] = {**run_recipe(output, recipe, params, processes), "output": output}
        return results[recipe, processes]

    return get

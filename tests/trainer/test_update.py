"""Rates, precision and clipping through whole runs, and steps that go wrong in them."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from paceline_trainer.data import epoch_order
from tests.trainer import forked
from tests.trainer.conftest import environment, run_recipe

BATCH, EPOCHS, BAD, SEED = 100, 2, 700, 1
PER_EPOCH = 15
BAD_STEPS = [
    PER_EPOCH * epoch + epoch_order(1438, SEED, epoch).tolist().index(BAD) // BATCH + 1 for epoch in range(EPOCHS)
]


def run_bad(folder: Path, processes: int = 1, **params: Any) -> subprocess.CompletedProcess[str]:
    """A run in whose data one sample is no number, with a checkpoint at every third step."""
    script = str(Path(__file__).with_name("bad_sample.py"))
    given = {"batch_size": BATCH, "epochs": EPOCHS, "seed": SEED, **params}
    program = [script, "--recipe", "image-classification", "--params", json.dumps(given)]
    env = environment(PACELINE_CHECKPOINT_DIR=str(folder / "kept"), PACELINE_CHECKPOINT_EVERY_STEPS="3")
    return forked.run([*program, "--output", str(folder / "output")], processes, env)


def losses(folder: Path) -> list[float | None]:
    found: list[float | None] = json.loads((folder / "output/report.json").read_text(encoding="utf-8"))["losses"]
    return found


def test_a_loss_that_is_no_number_stops_the_run_by_default(tmp_path):
    done = run_bad(tmp_path)
    assert done.returncode == 1
    assert f"AnomalyError: step {BAD_STEPS[0]}: loss is nan" in done.stderr
    assert not (tmp_path / "output/manifest.json").exists()


def test_without_a_checkpoint_to_go_back_to_the_run_stops(tmp_path):
    done = run_bad(tmp_path, on_anomaly="roll-back", seed=0)  # it is in the second batch of all
    assert done.returncode == 1
    assert "AnomalyError: step 2: loss is nan" in done.stderr


@pytest.mark.parametrize(
    ("processes", "more"),
    [(1, {}), (2, {}), (3, {"parallel": "server"}), (4, {"parallel": "server", "staleness": 2, "lr": 0.001})],
)
def test_a_step_that_goes_wrong_can_be_skipped(tmp_path, processes, more):
    done = run_bad(tmp_path, processes, on_anomaly="skip", **more)
    assert done.returncode == 0, done.stderr
    assert [i for i, loss in enumerate(losses(tmp_path), 1) if loss is None] == BAD_STEPS
    assert done.stdout.count("its update is skipped") == EPOCHS
    metrics = json.loads((tmp_path / "output/manifest.json").read_text(encoding="utf-8"))["metrics"]
    assert math.isfinite(metrics["loss"]), "no weight was touched by it"


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_can_go_back_to_its_checkpoint_and_leave_the_step_out(tmp_path, processes):
    done = run_bad(tmp_path, processes, on_anomaly="roll-back", pipeline_stages=processes)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"step (\d+): loss is nan; rolled back to step (\d+), and that step is left out", done.stdout)
    assert [int(step) for step, _ in told] == BAD_STEPS
    assert all(0 < int(to) < int(step) for step, to in told)
    assert [i for i, loss in enumerate(losses(tmp_path), 1) if loss is None] == BAD_STEPS
    assert len(losses(tmp_path)) == EPOCHS * PER_EPOCH


TRICKS = {
    "schedule": "cosine", "warmup_steps": 5, "lr_floor": 0.1, "clip_norm": 0.5, "explosion": 100.0, "spike": 100.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_recipe(
        tmp_path_factory.mktemp("alone"), "image-classification", {"epochs": 2, "batch_size": 50, **TRICKS}, 1
    )


@pytest.mark.parametrize(
    "layout",
    [{}, {"parallel": "fsdp"}, {"parallel": "fsdp", "tensor_parallel": 2}, {"pipeline_stages": 2}],
    ids=lambda layout: " ".join(map(str, layout)) or "ddp",
)
def test_rates_and_clipping_are_the_same_in_every_layout(tmp_path, alone, layout):
    params = {"epochs": 2, "batch_size": 50, **TRICKS, **layout}
    found = run_recipe(tmp_path, "image-classification", params, 2)["report"]["losses"]
    assert found[:29] == pytest.approx(alone["report"]["losses"][:29], rel=0, abs=1e-5)
    assert found == pytest.approx(alone["report"]["losses"], rel=0, abs=1e-2)


def test_clipping_and_rates_change_what_is_trained(tmp_path, alone):
    plain = run_recipe(tmp_path, "image-classification", {"epochs": 2, "batch_size": 50}, 1)["report"]["losses"]
    assert alone["report"]["losses"][0] == plain[0], "the weights were the same"
    assert alone["report"]["losses"][5] > plain[5], "a rate that starts at 0 learns later"


@pytest.mark.parametrize(
    "layout",
    [{}, {"parallel": "fsdp"}, {"parallel": "fsdp", "tensor_parallel": 2}, {"pipeline_stages": 2}],
    ids=lambda layout: " ".join(map(str, layout)) or "ddp",
)
def test_bf16_stays_near_fp32_in_every_layout(tmp_path, layout):
    both = {}
    for precision in ("fp32", "bf16"):
        params = {"epochs": 1, "batch_size": 50, "precision": precision, **layout}
        both[precision] = run_recipe(tmp_path / precision, "image-classification", params, 2)["report"]["losses"]
    assert both["bf16"] == pytest.approx(both["fp32"], rel=0, abs=0.1)
    assert both["bf16"] != both["fp32"], "it was computed in bf16"


def test_a_precision_that_the_device_has_not_is_refused_with_the_reason(tmp_path):
    program = ["-m", "paceline_trainer.run", "--recipe", "image-classification", "--params", '{"precision": "fp8"}']
    done = forked.run([*program, "--output", str(tmp_path)], 1, environment())
    assert done.returncode == 1
    assert "precision: fp8 needs a GPU of compute capability 8.9 or higher; this is cpu; take bf16" in done.stderr

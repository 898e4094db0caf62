"""What a step's time goes to: the split by closed form, and of a real run, whose parts are its whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_trainer.watching.step_time import DATA, WHOLE, StepTime, length, split
from tests.trainer.conftest import run_recipe


def test_communication_is_what_computation_does_not_hide():
    events = [
        (WHOLE, (0.0, 100.0), False),
        (DATA, (0.0, 10.0), False),
        ("aten::index", (2.0, 8.0), False),  # within data
        ("aten::mm", (20.0, 50.0), False),
        ("aten::add", (30.0, 40.0), False),  # within mm
        ("gloo:all_reduce", (40.0, 70.0), False),  # 20 of it after mm
        ("c10d::allreduce_", (65.0, 75.0), False),
        ("Optimizer.step", (80.0, 95.0), False),  # Python, unless operators run in it
        ("gloo:all_reduce", (98.0, 150.0), False),  # on another thread, into the next step
    ]
    found = split(events)
    assert found == StepTime(*(pytest.approx(1e-6 * us) for us in (10, 30, 27, 33)))


def test_on_a_gpu_computation_is_its_kernels():
    events = [
        (WHOLE, (0.0, 100.0), False),
        ("aten::mm", (0.0, 90.0), False),
        ("sgemm", (10.0, 60.0), True),
        ("ncclDevKernel_AllReduce", (50.0, 80.0), True),
    ]
    assert split(events) == StepTime(*(pytest.approx(1e-6 * us) for us in (0, 50, 20, 30)))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8))
def test_the_length_of_a_union_is_that_of_the_points_in_it(spans):
    spans = [(float(min(s)), float(max(s))) for s in spans]
    inside = {point for start, end in spans for point in range(int(start), int(end)) if 10 <= point < 50}
    assert length(spans, (10.0, 50.0)) == len(inside)


def test_every_run_says_what_its_steps_take(tmp_path):
    params = {"epochs": 1, "width": 4}
    result = run_recipe(tmp_path / "out", "image-classification", params, 2)
    seconds = result["report"]["step_seconds"]
    assert set(seconds) == {"data", "computation", "communication", "other"}
    assert min(seconds["computation"], seconds["communication"]) > 0
    assert "a step takes" in result["stdout"]
    assert "## A step's time" in (tmp_path / "out/report.md").read_text(encoding="utf-8")
    alone = run_recipe(tmp_path / "alone", "image-classification", params, 1)
    assert alone["report"]["step_seconds"]["communication"] == 0
    traced = run_recipe(tmp_path / "traced", "image-classification", {**params, "profile": True}, 2)
    assert "step_seconds" not in traced["report"]
    assert {p.name for p in (tmp_path / "traced/trace").iterdir()} == {"trace-rank-0.json.gz", "trace-rank-1.json.gz"}

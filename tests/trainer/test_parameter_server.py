"""In lockstep a parameter server's losses are those of one process; else nobody runs further ahead than was said."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_trainer.parallel.clocks import Clocks
from paceline_trainer.params import ParamError, parse
from paceline_trainer.recipes import PARAMS
from tests.trainer.conftest import environment, launcher, run_recipe, written_by
from tests.trainer.server_losses import RUNS


@given(st.data())
def test_nobody_is_further_ahead_than_was_said_and_all_meet(data):
    workers, staleness = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 4))
    begun, running = [7] * workers, set(range(workers))
    clocks = Clocks(workers, staleness, 7)
    assert clocks.met
    for meeting in (12, 13, 20):
        clocks.meet_at(meeting)
        begun, running = [step + 1 for step in begun], set(range(workers))
        while not clocks.met:
            assert running, "somebody can go on until they meet"
            done = data.draw(st.sampled_from(sorted(running)))
            running.remove(done)
            clocks.end(done)
            if data.draw(st.integers(0, 20)) == 0:
                clocks.meet_soon()
            for worker in clocks.released():
                begun[worker] += 1
                running.add(worker)
                assert begun[worker] - 1 - clocks.slowest <= staleness
        assert not running
        assert set(begun) == {clocks.slowest}
        assert clocks.slowest <= meeting
        if clocks.slowest < meeting:  # they met soon, and do again
            clocks.meet_at(meeting)
            return


def test_a_meeting_is_as_soon_as_can_be():
    clocks = Clocks(2, 3, 0)
    clocks.meet_at(100)
    clocks.end(0)
    assert clocks.released() == [0]
    clocks.end(0)
    assert clocks.released() == [0], "two steps ahead, in its third step"
    clocks.meet_soon()
    clocks.end(0)
    assert clocks.released() == [], "the meeting is at step 3"
    for _ in range(2):
        clocks.end(1)
        assert clocks.released() == [1]
    clocks.end(1)
    assert clocks.met
    assert clocks.slowest == 3


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By the number of processes."""
    return {n: written_by("server_losses.py", n, tmp_path_factory.mktemp("server")) for n in (1, 2, 3)}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("processes", [2, 3])
def test_in_lockstep_the_losses_are_those_of_one_process(found, name, processes):
    (alone,), spread = found[1][name]["of"], found[processes][name]
    assert spread["staleness"] == 0
    for one in spread["of"]:  # of server and workers alike: they have met
        assert one["losses"] == pytest.approx(alone["losses"], rel=0, abs=1e-12)
        assert one["weights"] == pytest.approx(alone["weights"], rel=1e-12)
        assert one["moments"] == pytest.approx(alone["moments"], rel=1e-9)
        assert one["steps"] == alone["steps"]


def test_a_single_worker_is_never_behind_though_it_need_not_wait(found):
    (alone,), spread = found[1]["adamw"]["of"], found[2]["at once"]
    assert spread["staleness"] == 0
    assert spread["of"][0]["losses"] == pytest.approx(alone["losses"], rel=0, abs=1e-12)


def test_workers_that_do_not_wait_change_the_result_and_end_up_with_one_model(found):
    (alone,), spread = found[1]["adamw"]["of"], found[3]["at once"]
    assert spread["staleness"] >= 1, "both began with the same weights, and one was the second to change them"
    assert spread["of"][0]["losses"] != pytest.approx(alone["losses"], rel=0, abs=1e-6)
    assert spread["of"][0] == spread["of"][1] == spread["of"][2]


def test_without_waiting_it_learns_and_reports_how_old_weights_were(tmp_path):
    params = {"epochs": 6, "parallel": "server", "staleness": 2, "lr": 0.001, "patience": 5}
    result = run_recipe(tmp_path, "image-classification", params, 3)
    assert result["manifest"]["metrics"]["accuracy"] >= 0.93
    staleness = result["report"]["staleness"]
    # The other worker makes 2 × 2 + 1 updates at most while one computes.
    assert 0 < staleness["mean"] <= staleness["max"] <= 5
    assert f"gradients were of weights {staleness['mean']:.2f} updates old on average" in result["stdout"]
    assert result["report"]["step_seconds"]["communication"] > 0
    assert result["report"]["step_seconds"]["computation"] > 0


def test_a_step_that_goes_wrong_ends_the_run_with_the_reason(tmp_path):
    params = {"epochs": 2, "parallel": "server", "lr": 100.0, "optimizer": "sgd"}
    program = ["-m", "paceline_trainer.run", "--recipe", "linear-regression", "--params", json.dumps(params)]
    command = [*launcher(3), *program, "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    root_cause = r"(?s)Root Cause.*rank      : 0.*AnomalyError: step \d+: loss is (inf|nan)"
    assert re.search(root_cause, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("recipe", "params", "why"),
    [
        ("image-classification", {"tensor_parallel": 2}, "have all layers"),
        ("image-classification", {"pipeline_stages": 2}, "have all layers"),
        ("image-classification", {"aggregation": "powersgd"}, "sent whole gradients"),
        ("image-classification", {"local_steps": 2}, "share every gradient"),
        ("image-classification", {"precision": "fp16"}, "take bf16"),
        ("image-classification", {"on_anomaly": "roll-back"}, "workers have gone on"),
        ("topic-classification", {"tuning": "adalora"}, "given out where gradients are"),
        ("image-classification", {"parallel": "ddp", "staleness": 1}, "parallel: server"),
        ("image-classification", {"parallel": "fsdp", "staleness": 1}, "parallel: server"),
    ],
)
def test_what_cannot_be_combined_is_refused(recipe, params, why):
    with pytest.raises(ParamError, match=why):
        parse(PARAMS[recipe], {"parallel": "server", **params})

"""What runs measured, and the advice that is made of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from paceline.api.spec import TrainingJobSpec
from paceline.api.trainingjob import TrainingJob
from paceline.cli.advise import AdviceError, Question, advise, show
from paceline.cli.runs import named, of_program
from paceline.cost import measured
from paceline.cost.measured import Run

NOW = datetime(2026, 11, 25, 14, 0, 0, tzinfo=UTC)
GPU = {"resources": {"limits": {"nvidia.com/gpu": 8}}}
SPEC = TrainingJobSpec.model_validate({"image": "i", "command": ["x"], "nodes": 2} | GPU)


def job(name, nodes=2, speed="100", failures=(), spec=(), cost=None, goodput=None, **status):
    told = {"samplesPerSecond": speed, "lastUpdateTime": "2026-11-25T12:59:00Z"} if speed else {}
    return {
        "metadata": {"name": name, "namespace": "a", "uid": name, "creationTimestamp": "2026-11-25T10:00:00Z"},
        "spec": {"image": "i", "command": ["x"], "nodes": nodes} | GPU | dict(spec),
        "status": {
            "phase": "Succeeded",
            "startTime": "2026-11-25T11:00:00Z",
            "activeSeconds": 7200,
            "nodes": {"desired": nodes, "running": 0, "summary": "-"},
            "progress": told,
            "failures": [{"cause": c, "message": "m", "time": "2026-11-25T12:00:00Z"} for c in failures],
        }
        | ({"cost": {"asOf": "2026-11-25T13:00:00Z"} | cost} if cost else {})
        | ({"goodput": {"seconds": goodput}} if goodput else {})
        | status,
    }


def run(name, **fields) -> Run:
    found = measured.run(TrainingJob.parse(job(name, **fields)), NOW)
    assert found is not None
    return found


def test_throughput_is_of_one_device_where_there_are_the_fewest_machines():
    runs = [run("large", nodes=4, speed="320"), run("small", nodes=2, speed="200"), run("again", nodes=2, speed="220")]
    found = measured.throughput(runs, 8)
    assert (found.value, found.jobs) == (pytest.approx(210 / 2 / 8), ("tj/again", "tj/small"))
    assert measured.throughput(runs, 4) is None, "devices of another kind of worker"
    assert measured.throughput([], 8) is None


def test_scaling_is_beside_the_fewest_machines_and_needs_two_sizes():
    runs = [run("one", nodes=1, speed="100"), run("two", nodes=2, speed="180"), run("four", nodes=4, speed="320")]
    found = measured.scaling(runs, 8)
    assert found.value.efficiency(1) == 1
    assert found.value.efficiency(2) == pytest.approx(0.9)
    assert found.value.efficiency(3) == pytest.approx(0.85)
    assert found.value.efficiency(5) is None
    assert measured.scaling(runs[:1], 8) is None


@pytest.mark.parametrize("speed", [None, "fast", "nan", "0", "-1"])
def test_what_no_figure_was_reported_of_measured_nothing(speed):
    assert run("a", speed=speed).samples_per_second is None


def test_a_speed_of_before_the_last_resize_is_of_another_size():
    for when, speed in (("2026-11-25T12:58:00Z", 100), ("2026-11-25T12:59:30Z", None)):
        resized = job("a")
        resized["status"]["nodes"]["resizeTime"] = when
        assert measured.run(TrainingJob.parse(resized), NOW).samples_per_second == speed


def test_a_speed_of_before_the_gang_ran_as_it_does_may_be_of_another_size_since_users_resize_it_too():
    for since, speed in (("2026-11-25T12:58:00Z", 100), ("2026-11-25T12:59:30Z", None)):
        running = {
            "type": "Running",
            "status": "True",
            "lastTransitionTime": since,
            "reason": "GangRunning",
            "message": "",
        }
        assert run("a", phase="Running", conditions=[running]).samples_per_second == speed
    for phase in ("Pending", "Starting", "Recovering"):
        assert run("a", phase=phase).samples_per_second is None
    assert run("a", phase="Suspended").samples_per_second == 100


def test_a_gang_that_runs_with_fewer_machines_than_it_is_to_have_is_measured_by_those():
    fewer = job("a", phase="Running")
    fewer["status"]["nodes"] = {"desired": 4, "running": 3, "summary": "3/4"}
    assert measured.run(TrainingJob.parse(fewer), NOW).machines == 3


def test_preemptions_are_counted_on_spot_alone_and_by_machine_hours():
    spot = {"cost": {"gpuHours": "64", "capacityType": "spot"}}
    asked = {"spec": {"cost": {"capacityType": "spot"}}}
    told = {"cost": {"gpuHours": "64", "capacityType": "on-demand"}} | asked
    assert not run("told", **told).spot, "what its nodes say is truer than what was asked"
    taken = run("taken", failures=["Preempted", "CodeError", "NodeLost"], **spot)
    quiet = run("quiet", **asked)
    owned = run("owned", failures=["NodeLost"])
    assert (taken.machine_hours, quiet.machine_hours) == (8, 4)
    found = measured.preemptions_per_hour([taken, quiet, owned])
    assert (found.value, found.jobs) == (pytest.approx(2 / 12), ("tj/quiet", "tj/taken"))
    assert measured.preemptions_per_hour([owned]) is None
    assert measured.preemptions_per_hour([run("many", failures=["Preempted"] * 10, **spot)]) is None, "maybe more"


def test_what_a_failure_takes_is_the_time_of_all_of_them():
    lost = run("a", failures=["Preempted", "CodeError"], goodput={"lost": "300", "recovering": "420", "training": "9"})
    found = measured.hours_lost([lost, run("b")])
    assert (found.value, found.jobs) == (pytest.approx(0.1), ("tj/a",))
    assert measured.hours_lost([run("b")]) is None


def test_a_job_that_runs_has_run_until_now():
    since = run("a", activeSeconds=0, activeSince="2026-11-25T13:00:00Z")
    assert since.machine_hours == 2


def test_runs_are_found_by_name_or_by_their_program():
    other, recipe = (
        job("other", spec={"command": ["y"]}),
        job("recipe", spec={"recipe": {"name": "r"}, "command": None}),
    )
    new = job("new")
    del new["status"]["startTime"]
    found = [job("mine"), other, recipe, new]
    assert [r.name for r in of_program(found, SPEC, NOW)] == ["tj/mine"]
    ready = TrainingJobSpec.model_validate({"recipe": {"name": "r", "params": {"epochs": 9}}})
    assert of_program(found, ready, NOW) == [], "other parameters may be another model"
    same = TrainingJobSpec.model_validate({"image": "i", "recipe": {"name": "r"}})
    assert [r.name for r in of_program(found, same, NOW)] == ["tj/recipe"]
    assert [r.name for r in named(found, ["tj/other", "mine"], "a", NOW)] == ["tj/other", "tj/mine"]
    for name, why in (("gone", "there is no TrainingJob of that name in a"), ("tj/new", "it has never run")):
        with pytest.raises(AdviceError, match=f"--from {name.removeprefix('tj/')}: {why}"):
            named(found, [name], "a", NOW)


def test_every_figure_says_where_it_is_from_and_what_is_given_wins(capsys):
    spot = {"cost": {"gpuHours": "64", "capacityType": "spot"}, "goodput": {"recovering": "720"}}
    runs = (run("two", nodes=2, speed="160"), run("four", nodes=4, speed="256", failures=["Preempted"], **spot))
    ask = {"job": SPEC, "device": "H100", "samples": 3.6e6}
    show(advise(Question(**ask, runs=runs)), "json")
    told = json.loads(capsys.readouterr().out)
    assert told["figures"] == {
        "samplesPerSecondOfADevice": {"value": 10.0, "basis": "measured", "jobs": ["tj/two"]},
        "scaling": {"value": "2:1,4:0.8", "basis": "measured", "jobs": ["tj/four", "tj/two"]},
        "preemptionsPerHour": {"value": 0.125, "basis": "measured", "jobs": ["tj/four"]},
        "lostMinutes": {"value": 12.0, "basis": "measured", "jobs": ["tj/four"]},
    }
    assert "Samples: given; 10 a second of one H100: measured (tj/two)." in told["basis"]
    scales = (
        "Several machines scale as measured (tj/four, tj/two): 2:1,4:0.8; fewer than 2 are assumed to lose nothing."
    )
    assert scales in told["basis"]
    assert any(
        "0.125 preemptions an hour of a machine, measured (tj/four); each takes 12.0" in s for s in told["basis"]
    )
    assert {row["speed"] for row in told["options"] if row["accelerator"] == "H100"} == {"measured"}

    given = advise(
        Question(**ask, runs=runs, throughput=20.0, scaling="4:0.5", preemptions_per_hour=0.5, lost_hours=0.5)
    )
    assert {given.figures.throughput.basis, given.figures.scaling.basis, given.figures.preemptions.basis} == {"given"}
    assert given.figures.lost_hours.value == 0.5
    cheaper = advise(Question(**ask, runs=runs, throughput=20.0)).size[0].usd
    assert cheaper < advise(Question(**ask, runs=runs)).size[0].usd <= Decimal("1e6")


def test_runs_of_other_workers_are_named_and_give_no_speed():
    small = run("small", spec={"resources": {"limits": {"nvidia.com/gpu": 1}}})
    with pytest.raises(AdviceError, match="or --from a run that says how fast it was"):
        advise(Question(job=SPEC, device="H100", samples=1e6, runs=(small,)))
    said = advise(Question(job=SPEC, device="H100", hours=1, runs=(small,))).basis
    assert "No throughput is taken from: tj/small (another number of devices a worker)." in said


def on(name, device, **fields):
    return run(name, cost={"gpuHours": "64", "gpuModel": device}, **fields)


def test_the_device_is_the_one_that_the_runs_had_and_what_others_did_is_not_taken_for_it():
    mine, label, other = on("mine", "H100", speed="160"), on("label", "NVIDIA-H100-80GB", nodes=4), on("other", "A100")
    found = advise(Question(job=SPEC, samples=1e6, runs=(mine,)))
    assert "The device is H100: measured (tj/mine)." in found.basis
    assert found.figures.throughput.value == 10
    mixed = advise(Question(job=SPEC, device="H100", samples=1e6, runs=(mine, label, other)))
    assert mixed.figures.throughput.jobs == ("tj/mine",)
    assert mixed.figures.scaling.jobs == ("tj/label", "tj/mine"), "a node may have another name for it"
    assert "No throughput is taken from: tj/other (on A100)." in mixed.basis
    for runs, why in (
        ((), "no run tells"),
        ((mine, other), "the runs had A100, H100"),
        ((label,), "had NVIDIA-H100-80GB"),
    ):
        with pytest.raises(AdviceError, match=f"Give --on .*{why}"):
            advise(Question(job=SPEC, samples=1e6, runs=runs))

"""CompressionJobs through their stages, trials and verdicts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.compressions import (
    DROP,
    INT8,
    PRUNE,
    RECOVER,
    SMALLER,
    World,
    holds,
    trained,
)

QUARTER = {"int8": {"sizeBytes": 200_000, "latencyP50": 0.5, "latencyP95": 0.6}}
WORSE = {"accuracy": 0.9}


def condition(status, type_):
    return next((c for c in status["conditions"] if c["type"] == type_), {"status": None})


def test_a_pipeline_that_meets_its_gates_is_accepted():
    world = World(QUARTER, gates=[DROP, SMALLER])
    status = world.run()
    assert world.made == ["source", "prune", "recover", "recover", "int8", "export", "report"]
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Accepted")
    assert condition(status, "Complete")["status"] == "True"
    assert status["summary"] == {"size": "4.0:1", "speedup": "4.00x", "score": "0.9900 > 0.9900"}
    assert status["artifact"] == {
        "path": "/models/digits-small/artifact", "formats": ["safetensors", "onnx"], "sha256": "b" * 64,
    }  # fmt: skip
    assert [g["passed"] for g in status["report"]["stages"][-1]["gates"]] == [True, True]
    assert status["cost"]["accruedUSD"] == "0.07"
    assert status["cost"]["sourceUSD"] == "0.5"
    assert world.events == ["Accepted"]


def test_stages_go_on_from_one_another_and_train_by_the_sources_recipe():
    world = World()
    world.run()
    specs = [child["spec"] for child in world.children.values()]
    source, prune, training, measured, int8, export, _ = specs
    request = {name: json.loads(spec["command"][-1]) for name, spec in (
        ("source", source), ("prune", prune), ("measured", measured), ("int8", int8), ("export", export),
    )}  # fmt: skip
    assert request["source"]["method"] == "none"
    assert request["prune"]["input"] == "/models/digits"
    assert request["prune"]["target"] == {"macsRatio": 0.5}
    assert training["recipe"]["name"] == "image-classification"
    assert training["recipe"]["params"] == {
        "epochs": 2, "start_from": request["prune"]["output"], "teacher": "/models/digits",
    }  # fmt: skip
    env = training["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "PACELINE_OUTPUT_DIR", "value": request["measured"]["input"]}]
    assert request["int8"]["input"] == request["measured"]["input"], "the trained model itself, not a copy"
    assert request["export"]["input"] == request["int8"]["output"]
    assert all(spec["template"]["spec"]["volumes"] for spec in specs)
    assert {spec.get("image") for spec in specs if "command" in spec} == {"trainer:1"}


def test_scores_are_not_judged_before_a_training_that_may_bring_them_back():
    world = World({"prune": WORSE, **QUARTER})
    assert world.run()["verdict"] == "Accepted"
    assert "gates" not in world.status["report"]["stages"][0] or world.status["report"]["stages"][0]["gates"] == []


def test_stop_withholds_a_model_that_regressed():
    world = World({"recover": WORSE})
    status = world.run()
    assert (status["verdict"], status["phase"]) == ("Regression", "Failed")
    assert "artifact" not in status
    assert "int8" not in world.made, "it stops at the stage that failed"
    assert "export" not in world.made
    assert world.made[-1] == "report", "what was found is told all the same"
    assert condition(status, "Failed")["reason"] == "Regression"
    assert "accuracy maxDrop 0.01: 0.09" in status["message"]
    assert "GateMissed" in world.events


def test_stop_says_infeasible_where_only_size_is_missed():
    status = World(gates=[DROP, SMALLER]).run()
    assert status["verdict"] == "Infeasible"
    assert "artifact" not in status


def test_keep_best_takes_the_stage_before_the_one_that_failed():
    world = World({"int8": WORSE}, onGateFail="KeepBest")
    status = world.run()
    assert status["verdict"] == "Accepted"
    assert status["report"]["candidate"] == "recover"
    assert "recover is kept" in status["message"]
    export = next(c for c in world.children.values() if c["metadata"]["labels"]["paceline.dev/stage"] == "export")
    recover = next(s for s in status["report"]["stages"] if s["name"] == "recover")
    assert json.loads(export["spec"]["command"][-1])["input"] == recover["path"]


def test_keep_best_is_infeasible_where_what_is_kept_misses_the_other_gates():
    status = World({"int8": WORSE | {"sizeBytes": 1}}, onGateFail="KeepBest", gates=[DROP, SMALLER]).run()
    assert status["verdict"] == "Infeasible"
    assert status["artifact"]["path"] == next(s for s in status["report"]["stages"] if s["name"] == "recover")["path"]


def test_backoff_tries_weaker_targets_and_repeats_nothing_that_is_finished():
    world = World({("prune", 0.5): WORSE}, stages=[PRUNE], onGateFail="Backoff", gates=[DROP])
    status = world.run()
    assert (status["verdict"], status["trial"]) == ("Accepted", 2)
    assert world.made == ["source", "prune", "prune", "export", "report"]
    assert [t["targets"] for t in status["report"]["trials"]] == [
        {"prune": "macsRatio 0.5"},
        {"prune": "macsRatio 0.75"},
    ]
    assert [t["passed"] for t in status["report"]["trials"]] == [False, True]


def test_backoff_that_never_passes_is_infeasible_with_the_best_that_was_reached():
    answers = {
        ("prune", 0.5): {"accuracy": 0.7},
        ("prune", 0.75): {"accuracy": 0.9},
        ("prune", 0.875): {"accuracy": 0.8},
    }
    status = World(answers, stages=[PRUNE], onGateFail="Backoff", maxTrials=3).run()
    assert status["verdict"] == "Infeasible"
    assert "trial 2 came closest" in status["message"]
    assert status["report"]["stages"][0]["trial"] == 2
    assert status["artifact"]["path"] == status["report"]["stages"][0]["path"]
    assert len(status["report"]["trials"]) == 3


def test_a_changed_later_stage_repeats_no_earlier_one():
    world = World()
    world.run()
    world.made.clear()
    world.change(stages=[PRUNE, RECOVER, INT8 | {"params": {"calibration_samples": 64}}])
    assert world.run()["verdict"] == "Accepted"
    assert world.made == ["int8", "export", "report"]


def test_what_was_said_of_an_earlier_spec_is_not_said_of_a_changed_one():
    world = World({"int8": WORSE}, stages=[PRUNE, RECOVER])
    assert world.run()["report"]["serving"]["requestsPerSecondAfter"]
    world.change(stages=[PRUNE, RECOVER, INT8])
    status = world.run()
    assert status["verdict"] == "Regression"
    assert "serving" not in status["report"], "this model was not served"
    assert world.events.count("GateMissed") == 1


def test_a_stage_that_is_no_longer_asked_for_is_ended():
    world = World()
    world.reconcile()
    world.end(world.open[0])
    world.reconcile()
    assert world.made == ["source", "prune"]
    world.change(stages=[INT8])
    world.reconcile()
    stages = [child["metadata"]["labels"]["paceline.dev/stage"] for child in world.children.values()]
    assert stages == ["source", "int8"]


def test_a_result_that_was_not_heard_is_asked_for_again():
    world = World()
    world.reconcile()
    world.end(world.open[0], model=None)
    world.reconcile()
    assert world.events == ["ResultLost"]
    assert world.run()["verdict"] == "Accepted"
    assert world.made[:2] == ["source", "source"]


def test_a_result_that_is_never_heard_is_not_asked_for_for_ever():
    world = World()
    for _ in range(20):
        world.reconcile()
        for child in world.open:
            world.end(child, model=None)
    assert world.made == ["source"] * 4
    assert world.status["phase"] == "Failed"
    assert "can pods reach the operator?" in world.status["message"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "SourceNotFound"),
        (trained(conditions=[], phase="Running"), "SourceNotFinished"),
        (trained(conditions=[holds("Failed")]), "SourceFailed"),
        (trained(model=None), "SourceWithoutModel"),
        (trained(model={"path": "/workspace/output"}), "ModelNotKept"),
    ],
)
def test_what_the_source_lacks_is_a_condition_and_then_it_goes_on_by_itself(source, reason):
    world = World()
    world.source = source
    world.reconcile()
    assert condition(world.status, "SourceReady") | {"message": ""} == {
        "type": "SourceReady", "status": "False", "reason": reason, "message": "",
        "observedGeneration": 1, "lastTransitionTime": condition(world.status, "SourceReady")["lastTransitionTime"],
    }  # fmt: skip
    assert world.status["phase"] == "Pending"
    world.source = trained()
    assert world.run()["verdict"] == "Accepted"


def test_a_source_without_a_recipe_ends_the_job():
    world = World()
    world.source = trained(spec={"recipe": None, "command": ["torchrun", "x.py"], "image": "x"})
    world.reconcile()
    assert world.status["phase"] == "Failed"
    assert "spec.recipe" in world.status["message"]


def test_a_wrong_parameter_of_a_training_stage_is_named():
    world = World(stages=[RECOVER | {"params": {"epoch": 2}}])
    world.reconcile()
    assert world.status["phase"] == "Failed"
    assert "spec.stages[recover].params: Additional properties" in world.status["message"]
    assert "'epoch' was unexpected" in world.status["message"]


def test_suspend_ends_what_runs_and_resume_goes_on():
    world = World()
    world.reconcile()
    world.change(suspend=True)
    world.reconcile()
    assert world.status["phase"] == "Suspending"
    (child,) = world.children.values()
    assert child["spec"]["suspend"] is True
    child["status"] = {"conditions": [holds("Suspended")], "phase": "Suspended"}
    world.reconcile()
    assert (world.status["phase"], condition(world.status, "Suspended")["status"]) == ("Suspended", "True")
    world.change(suspend=False)
    world.reconcile()
    assert child["spec"]["suspend"] is False
    child["status"] = {}
    assert world.run()["verdict"] == "Accepted"


def test_a_stage_that_fails_ends_the_job_and_a_changed_spec_tries_it_again():
    world = World()
    world.reconcile()
    failure = {"cause": "CodeError", "message": "boom", "time": "2026-11-29T10:00:00Z"}
    world.end(
        world.open[0], conditions=[holds("Failed")], message="no more restarts", lastFailure=failure, phase="Failed"
    )
    world.reconcile()
    assert world.status["phase"] == "Failed"
    assert condition(world.status, "Failed")["reason"] == "StageFailed"
    assert "stage source failed" in world.status["message"]
    assert world.status["lastFailure"]["message"] == "boom"
    assert world.reconcile() == []
    world.change(image="mended:1")
    assert world.run()["verdict"] == "Accepted"
    assert world.status["cost"]["accruedUSD"] == "0.08", "what the failed one cost is spent all the same"


def test_ttl_deletes_an_ended_job():
    world = World(ttlSecondsAfterFinished=60)
    world.run()
    assert not world.gone
    world.now += 61
    world.reconcile()
    assert world.gone


def test_a_budget_is_kept_by_the_stage_that_runs_and_raising_it_goes_on():
    budget = {"maxUSD": "0.025", "onExceed": "Suspend"}
    world = World(cost={"budget": budget})
    world.reconcile()
    world.end(world.open[0])
    world.reconcile()
    world.end(world.open[0])
    world.reconcile()
    (training,) = world.open
    assert training["spec"]["cost"]["budget"] == {
        "maxUSD": "0.005", "warnAtRatio": "1", "onExceed": "Suspend", "onForecastExceed": "Ignore",
    }  # fmt: skip
    assert condition(world.status, "BudgetAtRisk")["status"] == "True"
    training["status"] = {
        "conditions": [holds("Suspended"), holds("BudgetExceeded")],
        "cost": {"accruedUSD": "0.0049", "asOf": "2026-11-29T10:00:00Z"},
    }
    world.reconcile()
    assert (world.status["phase"], condition(world.status, "BudgetExceeded")["status"]) == ("Suspended", "True")
    assert "SuspendedByBudget" in world.events
    world.change(cost={"budget": budget | {"maxUSD": "1"}})
    world.reconcile()
    assert training["spec"]["cost"]["budget"]["maxUSD"] == "0.98"
    assert world.status["phase"] == "Running"
    world.end(training)
    assert world.run()["verdict"] == "Accepted"


def test_a_budget_that_fails_ends_with_its_verdict():
    world = World(cost={"budget": {"maxUSD": "0.015", "onExceed": "Fail"}})
    world.reconcile()
    world.end(world.open[0])
    world.reconcile()
    (prune,) = world.open
    world.end(prune, conditions=[holds("Failed", "BudgetExceeded"), holds("BudgetExceeded")], phase="Failed")
    world.reconcile()
    assert (world.status["phase"], world.status["verdict"]) == ("Failed", "BudgetExceeded")
    assert condition(world.status, "Failed")["reason"] == "BudgetExceeded"
    assert world.reconcile() == []


def test_a_budget_that_is_spent_between_two_stages_makes_no_further_one():
    world = World(cost={"budget": {"maxUSD": "0.01", "onExceed": "Fail"}})
    status = world.run()
    assert status["verdict"] == "BudgetExceeded"
    assert world.made == ["source"]


def test_a_budget_that_warns_lets_it_go_on():
    world = World(cost={"budget": {"maxUSD": "0.01"}})
    assert world.run()["verdict"] == "Accepted"
    assert "BudgetExceeded" in world.events


def test_economics_follow_from_what_was_served():
    world = World(serving={"utilization": "0.5", "requestsPerMonth": 30_000_000})
    for _ in range(20):
        world.reconcile()
        for child in world.open:
            stays = [{"pods": "1-0-0", "start": "2026-11-29T10:00:00Z", "usdPerHour": "0.36"}]
            world.end(child, cost={"accruedUSD": "0.01", "asOf": "2026-11-29T10:00:00Z", "ledger": {"stays": stays}})
    serving = world.status["report"]["serving"]
    assert serving["usdPerMillionBefore"] == "0.800000"
    assert serving["usdPerMillionAfter"] == "0.200000"
    assert serving["breakEvenRequests"] == "116667", "0.07 USD of seven steps, over 0.6 USD a million"
    assert serving["usdSavedPerMonth"] == "18.00"
    assert any("0.36 USD an hour" in words for words in serving["assumptions"])


def test_economics_without_a_price_say_why():
    status = World().run()
    assert "usdPerMillionBefore" not in status["report"]["serving"]
    assert "no price" in status["report"]["serving"]["assumptions"][0]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_happens_it_ends_and_finished_work_is_not_repeated(data):
    """Looks at any time, operators that forget all but the API's objects, missed gates anywhere."""
    drop = st.sampled_from([0.99, 0.985, 0.9])
    answers = {key: {"accuracy": data.draw(drop)} for key in ("prune", "recover", "int8")}
    world = World(
        answers, onGateFail=data.draw(st.sampled_from(["Stop", "KeepBest", "Backoff"])), gates=[DROP, SMALLER]
    )
    for _ in range(200):
        for _ in range(data.draw(st.integers(1, 2))):
            actions = world.reconcile()
        assert len(world.open) <= 1, "one stage at a time"
        if not actions and not world.open:
            break
        for child in world.open:
            world.end(child)
    else:
        raise AssertionError("no end")
    assert world.status["phase"] in ("Succeeded", "Failed")
    assert world.status["verdict"] in ("Accepted", "Regression", "Infeasible")
    assert len(world.children) == len(world.made), "nothing was made twice"
    assert (world.status["phase"] == "Succeeded") == (world.status["verdict"] == "Accepted")
    again = dict(world.obj)
    assert world.reconcile() == []
    assert world.obj["status"] == again["status"]

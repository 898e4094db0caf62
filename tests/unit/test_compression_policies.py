"""Gates, weaker targets, what a step is known by, and what serving costs: tables."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.api.compressionjob import CompressionJob, Gate, Stage, Target
from paceline.cost.prices import Machine
from paceline.cost.serving import economics, usd_per_million
from paceline.plan.compression.gates import due, judge
from paceline.plan.compression.origin import Origin, find
from paceline.plan.compression.pipeline import Pipeline
from paceline.plan.compression.trials import stages_of, weaker
from tests.unit.compressions import DROP, INT8, PRUNE, RECOVER, SMALLER, World, trained

RATIO = st.decimals("0.01", "0.99", places=2)


def figures(**given):
    return {name: Decimal(str(value)) for name, value in given.items()}


@pytest.mark.parametrize(
    ("gate", "base", "stage", "reached", "passed"),
    [
        (DROP, {"accuracy": 0.99}, {"accuracy": 0.98}, "0.01", True),
        (DROP, {"accuracy": 0.99}, {"accuracy": 0.9799}, "0.0101", False),
        (DROP, {"accuracy": 0.5}, {"accuracy": 0.9}, "-0.4", True),
        (DROP | {"relative": True, "value": "0.1"}, {"accuracy": 0.5}, {"accuracy": 0.45}, "0.1", True),
        (DROP | {"metric": "loss", "value": "0.1"}, {"loss": 0.2}, {"loss": 0.31}, "0.11", False),
        (SMALLER, {}, {"sizeBytes": 25, "baselineSizeBytes": 100}, "0.75", True),
        (SMALLER | {"metric": "macs"}, {"macs": 100}, {"macs": 60}, "0.4", False),
        (SMALLER | {"metric": "latencyP95"}, {"latencyP95": 9}, {"latencyP95": 3, "baselineLatencyP95": 2}, "-0.5", False),
        ({"metric": "throughput", "goal": "minValue", "value": "100"}, {}, {"throughput": 100}, "100", True),
        ({"metric": "latencyP50", "goal": "maxValue", "value": "1"}, {}, {"latencyP50": 1.5}, "1.5", False),
        (DROP, {"accuracy": 0.9}, {}, None, False),
        (SMALLER, {}, {"sizeBytes": 25}, None, False),
    ],
)  # fmt: skip
def test_a_gate_is_judged_in_its_own_terms(gate, base, stage, reached, passed):
    found = judge(Gate.model_validate(gate), figures(**base), figures(**stage))
    assert (found.reached, found.passed) == (reached, passed)


def test_what_is_judged_after_which_stage():
    gates = [Gate.model_validate(DROP), Gate.model_validate(SMALLER)]
    stages = [Stage.model_validate(s) for s in (PRUNE, RECOVER, INT8)]
    assert [[g.metric for g in due(gates, stages, i)] for i in range(3)] == [
        [], ["accuracy"], ["accuracy", "sizeBytes"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "by_trial"),
    [
        ({"macsRatio": "0.5"}, ["0.5", "0.75", "0.875"]),
        ({"sparsity": "0.8"}, ["0.8", "0.4", "0.2"]),
        ({"layers": 2}, [2, 4, 5, 6, 6]),
    ],
)
def test_each_trial_halves_the_distance_to_the_source(target, by_trial):
    name = next(iter(target))
    found = [weaker(Target.model_validate(target), t + 1, 6).wire()[name] for t in range(len(by_trial))]
    assert found == by_trial


@given(ratio=RATIO, trial=st.integers(1, 9))
def test_a_weaker_target_is_never_stronger_nor_beyond_the_source(ratio, trial):
    for name in ("macsRatio", "parametersRatio"):
        before, after = (
            Decimal(weaker(Target.model_validate({name: str(ratio)}), t, 6).wire()[name]) for t in (trial, trial + 1)
        )
        assert ratio <= before <= after < 1


def pipeline(**spec):
    world = World(**spec)
    job = CompressionJob.parse(world.obj)
    origin = find(job, trained())
    assert isinstance(origin, Origin)
    return Pipeline(job, origin, stages_of(job.spec.stages, 1, 6))


def test_a_step_is_known_by_what_its_result_follows_from():
    before = pipeline().steps
    later = pipeline(stages=[PRUNE, RECOVER, INT8 | {"params": {"calibration_samples": 8}}]).steps
    assert [a.name == b.name for a, b in zip(before, later, strict=True)] == [True, True, True, True, False]
    earlier = pipeline(stages=[PRUNE | {"target": {"macsRatio": "0.6"}}, RECOVER, INT8]).steps
    assert [a.name == b.name for a, b in zip(before, earlier, strict=True)] == [True, False, False, False, False]
    assert len({step.name for step in before}) == len(before)
    renamed = pipeline(stages=[PRUNE, RECOVER | {"nodes": 3}, INT8]).steps
    assert [step.key for step in renamed] == [step.key for step in before], "how many nodes train it changes no result"


def test_names_are_short_enough_for_what_their_pods_add():
    assert max(len(step.name) for step in pipeline(stages=[PRUNE | {"name": "a-rather-long-name-x"}]).steps) <= 52


def test_what_later_stages_inherit():
    sparse = {"name": "zeros", "method": "prune.unstructured", "target": {"sparsity": "0.5"}}
    student = {"name": "student", "method": "distill.pseudoLabel", "target": {"layers": 2}}
    tuned = {"name": "tuned", "method": "finetune"}
    qat = {"name": "qat", "method": "quantize.qat", "params": {"scheme": "int4-weight"}}
    steps = [step for step in pipeline(stages=[sparse, student, tuned, qat]).steps if step.params is not None]
    assert [step.params.get("layers") for step in steps] == [2, 2, 2]
    assert all(step.params["keep_zeros"] for step in steps)
    assert steps[0].params["teacher"] == "/models/digits"
    assert steps[0].params["confidence"] > 0.5
    assert "teacher" not in steps[1].params
    assert steps[2].params["quantization_aware"] == "int4-weight"
    assert "scheme" not in steps[2].params


def test_serving_dollars_against_the_formula():
    assert usd_per_million(Decimal("3.6"), Decimal(100), Decimal("0.5")) == 20
    found = economics(
        usd_per_hour=Decimal("3.6"), before_per_second=Decimal(100), after_per_second=Decimal(400),
        utilization=Decimal("0.5"), spent=Decimal(3), requests_per_month=1_000_000,
    )  # fmt: skip
    assert (found.before, found.after, found.saved_per_month) == (20, 5, 15)
    assert found.break_even_requests == 200_000
    assert round(found.break_even_days, 2) == Decimal("6.09")


def test_what_saves_nothing_is_never_paid_for():
    found = economics(
        usd_per_hour=Decimal(1), before_per_second=Decimal(10), after_per_second=Decimal(10),
        utilization=Decimal(1), spent=Decimal(3), requests_per_month=None,
    )  # fmt: skip
    assert (found.break_even_requests, found.break_even_days, found.saved_per_month) == (None, None, None)


MACHINE = Machine(
    "c7i.4xlarge", "", "", "", 0, {"on-demand": Decimal("0.72")}, 1, datetime.date(2026, 11, 1), "list", Decimal(16)
)


@pytest.mark.parametrize(
    ("hardware", "books", "before", "words"),
    [
        ("c7i.4xlarge", {"default": [MACHINE]}, "0.125000", "runs 16 server processes"),
        ("c7i.huge", {"default": [MACHINE]}, None, "has no row for c7i.huge"),
        ("c7i.4xlarge", {}, None, "has no row for c7i.4xlarge"),
    ],
)
def test_hardware_of_the_price_book(hardware, books, before, words):
    world = World(serving={"hardware": hardware})
    world.books = books
    serving = world.run()["report"]["serving"]
    assert serving.get("usdPerMillionBefore") == before
    assert words in serving["assumptions"][0]

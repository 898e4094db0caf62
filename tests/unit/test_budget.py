"""Budgets, stopWhen and idle devices: what is told, and what is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.api import conditions as c
from paceline.api.budget import Cost
from paceline.api.money import Utilization
from paceline.api.status import Metric
from paceline.cost.lookup import Host
from paceline.plan.actions import Announce
from paceline.plan.observed import Report
from tests.unit.conftest import WHOLE

# Two nodes of 36 USD an hour: two cents a second.
RATE = Decimal("0.02")
CHECKPOINT = {"uri": "s3://b/p", "everySteps": 10}


@pytest.fixture
def running(make_world):
    """A gang of two that runs on priced nodes, with this spec.cost."""

    def make(cost, **spec):
        world = make_world(cost=cost, **spec)
        world.start_priced()
        return world

    return make


def wait(world, seconds):
    """Time goes by as the operator lives it: it looks when it said that it would."""
    until = world.now + seconds
    decided = world.settle()
    while decided.wake_at is not None and decided.wake_at <= until:
        world.now = max(world.now, decided.wake_at)
        decided = world.settle()
    world.now = until
    return world.settle()


def reap(world):
    """The pods that were ending are gone, as the controller tells it."""
    gone = [replace(p, ended_at=p.ended_at or world.now) for p in world.pods.values() if p.deleting]
    world.reap()
    world.seen = replace(world.seen, departed=tuple(gone))
    world.settle()
    world.seen = replace(world.seen, departed=())
    world.settle()


def report(world, **fields):
    world.seen = replace(world.seen, report=Report(world.now, attempt=world.job.status.attempt, **fields))
    world.settle()


def accrued(world):
    return Decimal(world.job.status.cost.accrued_usd)


def test_a_budget_warns_at_its_ratio_and_when_it_is_spent_and_the_job_goes_on(running):
    world = running({"budget": {"maxUSD": "10", "warnAtRatio": "0.5"}})
    wait(world, 249)
    assert "BudgetAtRisk" not in world.events
    wait(world, 2)
    assert world.condition(c.BUDGET_AT_RISK) == ("True", "WarnRatioReached")
    assert not c.holds(world.job.status.conditions, c.BUDGET_EXCEEDED)
    wait(world, 250)
    assert world.condition(c.BUDGET_EXCEEDED) == ("True", "BudgetSpent")
    assert world.events.count("BudgetAtRisk") == world.events.count("BudgetExceeded") == 1
    assert len(world.workers()) == 2
    wait(world, 600)
    assert world.job.status.cost.budget_used_ratio == "2.2000"


def test_suspend_saves_ends_all_pods_and_a_larger_budget_goes_on(running):
    world = running({"budget": {"maxUSD": "10", "onExceed": "Suspend"}}, checkpoint=CHECKPOINT)
    wait(world, 490)
    assert world.job.status.phase == "Suspending"
    assert "SuspendedByBudget" in world.events
    # Pods have a minute to save, of which 45 s may be beyond the budget.
    assert accrued(world) == Decimal(10) - RATE * 15
    assert set(world.graces.values()) == {None}, "all the time that they ask for"
    world.now += 55
    reap(world)
    assert world.job.status.phase == "Suspended"
    assert "10 USD are spent; raise it to go on" in world.job.status.message
    assert Decimal(10) < accrued(world) <= Decimal(10) + RATE * 60
    spent = accrued(world)
    wait(world, 100_000)
    assert (world.job.status.phase, accrued(world), world.workers()) == ("Suspended", spent, [])
    world.set_spec(cost=Cost.model_validate({"budget": {"maxUSD": "20", "onExceed": "Suspend"}}))
    world.settle()
    world.fill()
    assert world.job.status.phase == "Running"
    assert not c.holds(world.job.status.conditions, c.BUDGET_EXCEEDED)
    assert world.job.status.budget is None


def test_pods_that_ended_early_do_not_bring_the_job_back(running):
    world = running({"budget": {"maxUSD": "10", "onExceed": "Suspend"}}, checkpoint=CHECKPOINT)
    wait(world, 490)
    reap(world)
    assert accrued(world) < 10
    wait(world, 1000)
    assert world.job.status.phase == "Suspended"


@pytest.mark.parametrize("change", [{"budget": None}, {"budget": {"maxUSD": "10", "onExceed": "Warn"}}])
def test_a_budget_that_is_gone_or_only_warns_lets_the_job_go_on(running, change):
    world = running({"budget": {"maxUSD": "10", "onExceed": "Suspend"}})
    wait(world, 600)
    reap(world)
    world.set_spec(cost=Cost.model_validate({k: v for k, v in change.items() if v}))
    world.settle()
    assert len(world.workers()) == 2


@pytest.mark.parametrize("policy", ["Running", "All", "None"])
def test_fail_ends_the_job_and_all_that_trains(running, policy):
    world = running({"budget": {"maxUSD": "10", "onExceed": "Fail"}}, cleanPodPolicy=policy)
    wait(world, 600)
    assert world.job.status.phase == "Failed"
    assert world.condition(c.FAILED) == ("True", "BudgetExceeded")
    assert world.condition(c.BUDGET_EXCEEDED) == ("True", "BudgetSpent")
    assert world.workers() == []
    assert "FailedByBudget" in world.events
    assert accrued(world) == 10


def trains(world, eta):
    """A minute of training is known, and how long it still takes."""
    report(world, step=1, total_steps=1000, eta_seconds=eta)
    world.now += 60
    report(world, step=20, total_steps=1000, eta_seconds=eta)
    world.now += 6
    report(world, step=21, total_steps=1000, eta_seconds=eta)


def test_a_forecast_above_the_budget_is_told_and_suspends_only_after_a_minute(running):
    world = running({"budget": {"maxUSD": "20", "onForecastExceed": "Suspend"}})
    trains(world, 1000)  # 20 USD and what is spent
    assert world.condition(c.BUDGET_AT_RISK) == ("True", "ForecastExceeds")
    wait(world, 50)
    assert world.job.status.phase == "Running"
    wait(world, 10)
    assert world.job.status.phase == "Suspending"
    reap(world)
    assert "20 USD would not be enough, by the forecast; raise it to go on" in world.job.status.message
    wait(world, 1000)
    assert world.job.status.phase == "Suspended"
    world.set_spec(cost=Cost.model_validate({"budget": {"maxUSD": "30", "onForecastExceed": "Suspend"}}))
    world.settle()
    assert len(world.workers()) == 2


def test_a_forecast_that_falls_again_suspends_nothing(running):
    world = running({"budget": {"maxUSD": "20", "onForecastExceed": "Suspend"}})
    trains(world, 1000)
    wait(world, 30)
    report(world, step=60, total_steps=1000, eta_seconds=100)
    wait(world, 100)
    assert world.job.status.phase == "Running"
    assert world.condition(c.BUDGET_AT_RISK) == ("False", "WithinBudget")


@pytest.mark.parametrize(("action", "told"), [("Ignore", False), ("Warn", True)])
def test_a_forecast_is_told_of_where_the_user_wants_that(running, action, told):
    world = running({"budget": {"maxUSD": "20", "onForecastExceed": action}})
    trains(world, 1000)
    wait(world, 100)
    assert c.holds(world.job.status.conditions, c.BUDGET_AT_RISK) is told
    assert world.job.status.phase == "Running"


def test_without_a_price_the_budget_says_that_it_cannot_be_held(make_world):
    world = make_world(cost={"budget": {"maxUSD": "1", "onExceed": "Fail"}})
    for name in ("n1", "n2"):
        world.set_node(name, host=Host(instance_type="x9", has=WHOLE))
    world.settle()
    world.fill()
    wait(world, 5000)
    assert world.condition(c.BUDGET_AT_RISK) == ("True", "NoPrice")
    assert world.job.status.phase == "Running"


@given(limit=st.decimals("0.01", 50, places=2), grace=st.integers(10, 400), ends=st.floats(0.1, 1))
def test_a_budget_is_overshot_by_less_than_a_minute(make_world, limit, grace, ends):
    """Whatever the limit, and however long the pods take of their grace."""
    world = make_world(
        cost={"budget": {"maxUSD": str(limit), "onExceed": "Suspend"}},
        checkpoint={**CHECKPOINT, "gracePeriodSeconds": grace},
    )
    world.start_priced()
    wait(world, 3000)
    assert world.job.status.phase == "Suspending"
    began = max(0, float(limit / RATE) - max(0, grace - 45))
    ended = 1_800_000_000 + int(began + grace * ends)
    world.now = max(world.now, ended)
    for pod in list(world.pods.values()):
        world.change(pod.name, ended_at=float(ended))
    reap(world)
    assert accrued(world) <= max(limit + RATE * 60, RATE * grace)


def evaluates(world, value, seconds=100):
    wait(world, seconds)
    report(world, step=1, metrics=(Metric(name="eval_accuracy", value=value),))


def test_a_metric_that_is_reached_ends_the_job_well(running):
    world = running({"stopWhen": {"metric": "eval_accuracy", "reaches": "0.92"}}, checkpoint=CHECKPOINT)
    evaluates(world, "0.90")
    assert world.job.status.phase == "Running"
    evaluates(world, "0.921")
    assert world.job.status.phase == "Succeeded"
    assert world.condition(c.COMPLETE) == ("True", "MetricReached")
    assert "eval_accuracy is 0.921: 0.92 is reached" in world.job.status.message
    assert world.workers() == []
    assert set(world.graces.values()) == {None}, "what they need to save"
    assert "StoppedByMetric" in world.events


def test_lower_may_be_better(running):
    world = running({"stopWhen": {"metric": "eval_accuracy", "goal": "Minimize", "reaches": "0.2"}})
    evaluates(world, "0.9")
    assert world.job.status.phase == "Running"
    evaluates(world, "0.2")
    assert world.job.status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("values", "stopped"),
    [
        (["0.50", "0.55", "0.60"], False),  # 2 USD for 5 points
        (["0.50", "0.505", "0.51", "0.515", "0.52"], False),  # a whole point for 4 USD, twice
        (["0.50", "0.501", "0.502", "0.5025"], True),  # 6 USD, and no whole point
        (["0.50", "0.51", "0.40", "0.41", "0.42"], True),  # worse than it was
    ],
)
def test_a_point_that_is_too_dear_ends_the_job(running, values, stopped):
    world = running({"stopWhen": {"metric": "eval_accuracy", "usdPerPointAbove": "5"}})
    for value in values:
        evaluates(world, value)
    assert (world.job.status.phase == "Succeeded") is stopped
    if stopped:
        assert world.condition(c.COMPLETE) == ("True", "PointTooDear")


def test_the_same_value_said_again_is_no_further_evaluation(running):
    world = running({"stopWhen": {"metric": "eval_accuracy", "usdPerPointAbove": "5"}})
    evaluates(world, "0.5")
    for _ in range(20):
        evaluates(world, "0.5")
    assert world.job.status.phase == "Running"


def test_a_metric_that_nobody_reports_is_told_with_those_that_are(running):
    world = running({"stopWhen": {"metric": "f1", "reaches": "0.9"}})
    evaluates(world, "0.5")
    assert world.job.status.stop_when.message == "no metric 'f1' was reported yet; there are: eval_accuracy"


def uses(world, ratio):
    used = Utilization(ratio=ratio, source="dcgm", as_of=datetime.fromtimestamp(world.now, UTC))
    before = world.job.status.utilization
    used = used.model_copy(update={"idle_since": before.idle_since if before else None})
    world.job = world.job.model_copy(update={"status": world.job.status.model_copy(update={"utilization": used})})
    world.settle()


def test_devices_that_do_nothing_are_told_with_what_they_burn(running):
    world = running({"idle": {"afterSeconds": 600}})
    for _ in range(10):
        uses(world, "0.01")
        wait(world, 59)
    assert "Idle" not in world.events
    uses(world, "0.01")
    wait(world, 20)
    assert world.condition(c.IDLE) == ("True", "LowUtilization")
    message = c.find(world.job.status.conditions, c.IDLE).message
    assert "utilization is under 0.05" in message
    assert "72.00 USD an hour" in message
    uses(world, "0.5")
    assert world.condition(c.IDLE) == ("False", "InUse")
    assert world.events.count("Idle") == 1


def test_who_makes_progress_is_not_idle(running):
    world = running({"idle": {"afterSeconds": 60}})
    for step in range(20):
        uses(world, "0.0")
        wait(world, 30)
        report(world, step=step)
    assert "Idle" not in world.events


def test_a_utilization_of_long_ago_says_nothing(running):
    world = running({"idle": {"afterSeconds": 600}})
    uses(world, "0.0")
    wait(world, 5000)
    assert "Idle" not in world.events


def test_idle_devices_are_given_back_where_the_user_wants_that(running):
    world = running({"idle": {"afterSeconds": 60, "onIdle": "Suspend"}})
    uses(world, "0.0")
    wait(world, 61)
    reap(world)
    assert world.job.status.phase == "Suspended"
    wait(world, 1000)
    assert world.job.status.phase == "Suspended"
    world.set_spec(nodes=2)
    world.settle()
    world.fill()
    assert world.job.status.phase == "Running"


def listen(world):
    """What is announced from now on."""
    told = []
    step = world.step

    def listening():
        decided = step()
        told.extend(f"{a.reason}: {a.message}" for a in decided.actions if isinstance(a, Announce))
        return decided

    world.step = listening
    return told


def test_events_tell_the_story_in_dollars(running):
    world = running({"budget": {"maxUSD": "10", "warnAtRatio": "0.5"}})
    told = listen(world)
    report(world, step=10, total_steps=100)
    wait(world, 100)
    report(world, step=50, total_steps=100)
    world.end(world.names()[0], 1)
    wait(world, 10)
    reap(world)
    world.fill()
    wait(world, 20)
    report(world, step=50, total_steps=100)
    recovered = next(line for line in told if line.startswith("Recovered"))
    assert "training goes on 30s after Unknown; it cost 0.60 USD" in recovered
    cost = Decimal(world.job.status.last_failure.cost_usd)
    lost = world.job.status.cost.lost_usd
    assert cost == Decimal(lost.recovery) + Decimal(lost.wasted_progress) > 0
    wait(world, 200)
    for pod in world.workers():
        world.end(pod.name, 0)
    world.settle()
    assert any(line.startswith("BudgetAtRisk: 5 of 10 USD are spent") for line in told)
    (end,) = (line for line in told if line.startswith("Succeeded"))
    assert f"; {accrued(world).quantize(Decimal('0.01'))} USD in " in end


def test_the_start_is_told_with_its_rate(make_world):
    world = make_world()
    told = listen(world)
    world.start_priced()
    assert any(line.startswith("Started: 2 workers run") and "72.00 USD an hour" in line for line in told)


@pytest.mark.parametrize("value", ["1e-300", "1e300", "-1e60", "0." + "3" * 60, "nan"])
def test_whatever_number_is_reported_the_status_has_room_for_it(running, value):
    world = running({"stopWhen": {"metric": "eval_accuracy", "goal": "Maximize", "usdPerPointAbove": "1000000"}})
    for each in ("0.5", value, "0.7"):
        evaluates(world, each)
    fields = world.job.status.stop_when.wire()
    assert all(len(text) <= 64 for text in fields.values())
    assert fields["last"] == "0.7"


def test_another_action_is_told_and_what_was_said_before_holds_no_longer(running):
    world = running({"budget": {"maxUSD": "10", "onExceed": "Warn"}})
    wait(world, 600)
    assert "the job goes on" in c.find(world.job.status.conditions, c.BUDGET_EXCEEDED).message
    world.set_spec(cost=Cost.model_validate({"budget": {"maxUSD": "10", "onExceed": "Suspend"}}))
    world.settle()
    assert world.events.count("SuspendedByBudget") == 1
    assert "raise it to go on" in c.find(world.job.status.conditions, c.BUDGET_EXCEEDED).message
    world.set_spec(cost=Cost.model_validate({"budget": {"maxUSD": "10", "onExceed": "Warn"}}))
    world.settle()
    assert "the job goes on" in c.find(world.job.status.conditions, c.BUDGET_EXCEEDED).message

"""How much of the devices is used: whose word holds, when it is written, what it makes of dollars and of the goodput."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.api import conditions as c
from paceline.plan.idle import FRESH_SECONDS
from paceline.plan.observed import Measured, Report, Usage
from paceline.plan.pace import REFRESH_SECONDS
from paceline.plan.usage import wasted
from paceline.server.payload import Payload, to_report

# Two nodes of 36 USD an hour: two cents a second.
RATE = Decimal("0.02")
DCGM = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


@pytest.fixture
def running(make_world):
    return lambda **spec: runs(make_world(**spec))


def runs(world):
    world.start_priced()
    return world


def measure(world, ratio):
    world.seen = replace(world.seen, measured=Measured(ratio, DCGM, world.now))
    return world.settle()


def report(world, step=1, **usage):
    told = Report(world.now, step=step, total_steps=100_000, attempt=world.job.status.attempt, usage=Usage(**usage))
    world.seen = replace(world.seen, report=told)
    return world.settle()


def wait(world, seconds, ratio=None):
    """Time goes by as the operator lives it; with ``ratio`` somebody measures it every half minute."""
    until = world.now + seconds
    decided = world.settle()
    while world.now < until:
        nexts = [until, *([world.now + 30] if ratio is not None else [])]
        if decided.wake_at is not None:
            nexts.append(max(decided.wake_at, world.now + 0.001))
        world.now = min(nexts)
        decided = world.settle() if ratio is None else measure(world, ratio)


def told(world):
    return world.job.status.utilization


@pytest.mark.parametrize(
    ("measured_ago", "reported_ago", "ratio", "source"),
    [
        (10, 5, "0.700", DCGM),
        (299, 5, "0.700", DCGM),
        (301, 5, "0.400", "the program: computation share of a step"),
        (None, 5, "0.400", "the program: computation share of a step"),
        (10, None, "0.700", DCGM),
        (301, 301, None, None),
        (None, None, None, None),
    ],
)
def test_who_measures_goes_before_the_program_while_its_word_is_fresh(
    running, measured_ago, reported_ago, ratio, source
):
    world = running()
    wait(world, 400)
    if measured_ago is not None:
        world.seen = replace(world.seen, measured=Measured(0.7, DCGM, world.now - measured_ago))
    if reported_ago is not None:
        said = Usage(utilization=0.4, of="computation share of a step", mfu=0.312)
        world.seen = replace(world.seen, report=Report(world.now - reported_ago, step=1, usage=said))
    world.settle()
    if ratio is None:
        assert told(world) is None
        return
    assert (told(world).ratio, told(world).source) == (ratio, source)
    assert told(world).as_of.timestamp() == int(world.now - (measured_ago if source == DCGM else reported_ago))
    assert told(world).mfu_ratio == (None if reported_ago is None else "0.312"), "which nobody else measures"


def test_figures_that_move_write_nothing_and_those_that_idle_waits_for_do(running):
    world = running()
    measure(world, 0.7)
    before = world.job.status
    for ratio in (0.6, 0.9, 0.06):
        world.now += 30
        measure(world, ratio)
        assert world.job.status == before
    world.now += 30
    measure(world, 0.04)
    assert told(world).ratio == "0.040"
    assert told(world).idle_since.timestamp() == world.now
    world.now += 30
    measure(world, 0.05)
    assert (told(world).ratio, told(world).idle_since) == ("0.050", None)


def test_the_newest_figure_is_written_with_every_other_change(running):
    world = running()
    measure(world, 0.7)
    world.now += 30
    world.seen = replace(world.seen, measured=Measured(0.8, DCGM, world.now))
    report(world, utilization=0.1)
    assert told(world).ratio == "0.800"


def test_a_low_utilization_is_confirmed_until_the_idle_time_is_over(running):
    world = running(cost={"idle": {"afterSeconds": 1800}})
    wait(world, 1770, ratio=0.01)
    assert not c.holds(world.job.status.conditions, c.IDLE)
    wait(world, 61, ratio=0.01)
    assert world.condition(c.IDLE) == ("True", "LowUtilization")
    measure(world, 0.5)
    assert world.condition(c.IDLE) == ("False", "InUse")


def test_a_confirmation_that_nobody_tells_of_is_looked_for(running):
    world = running()
    measure(world, 0.01)
    first = told(world).as_of
    world.now += 160
    decided = world.settle()
    assert told(world).as_of == first
    world.seen = replace(world.seen, measured=Measured(0.01, DCGM, world.now + 1))
    world.now = decided.wake_at
    world.settle()
    assert told(world).as_of > first


def test_what_was_paid_without_use_is_counted_while_the_utilization_is_known(running):
    world = running()
    wait(world, 100)
    assert world.job.status.cost.idle_usd is None
    measure(world, 0.75)
    assert world.job.status.cost.idle_usd is None, "nothing was known of the time until now"
    wait(world, REFRESH_SECONDS, ratio=0.75)
    assert Decimal(world.job.status.cost.idle_usd) == RATE * 300 / 4
    assert Decimal(told(world).active_gpu_seconds) == 16 * 300 * Decimal("0.75")
    wait(world, 200, ratio=0.75)
    wait(world, 1000)
    spent, active = world.job.status.cost.idle_usd, told(world).active_gpu_seconds
    assert Decimal(spent) < Decimal(world.job.status.cost.accrued_usd) / 4
    wait(world, 5000)
    assert (world.job.status.cost.idle_usd, told(world).active_gpu_seconds) == (spent, active), (
        "nothing was known since"
    )
    assert told(world).as_of.timestamp() < world.now - 5000, "its age is seen"
    measure(world, 0.75)
    assert world.job.status.cost.idle_usd == spent


def test_each_second_is_weighed_once_however_often_the_status_is_written(running):
    world = running()
    measure(world, 0.5)
    for step in range(100):
        world.now += 5.7
        world.seen = replace(world.seen, measured=Measured(0.5, DCGM, world.now))
        report(world, step=step)
    assert Decimal(told(world).active_gpu_seconds) == pytest.approx(Decimal(16 * 570) / 2, abs=Decimal("0.01"))
    assert Decimal(world.job.status.cost.idle_usd) == pytest.approx(RATE * 570 / 2, abs=Decimal("0.01"))


def test_what_the_program_said_before_a_failure_says_nothing_of_the_time_after_it(running):
    world = running()
    report(world, utilization=1.0, of="CPU time of its cores")
    wait(world, 10)
    world.end(world.names()[0], 1)
    world.settle()
    spent = world.job.status.cost.idle_usd
    wait(world, 60)
    world.reap()
    world.settle()
    assert world.job.status.cost.idle_usd == spent
    assert told(world).ratio == "1.000"


def test_what_is_suspended_keeps_what_was_known_last(running):
    world = running()
    measure(world, 0.75)
    wait(world, 60, ratio=0.75)
    world.set_spec(suspend=True)
    world.settle()
    world.reap()
    world.settle()
    assert world.job.status.phase == "Suspended"
    assert (told(world).ratio, told(world).source) == ("0.750", DCGM)


def test_without_a_price_and_devices_no_dollars_and_no_device_seconds(make_world):
    world = make_world()
    world.start()
    measure(world, 0.2)
    wait(world, 700, ratio=0.2)
    assert told(world).ratio == "0.200"
    assert (told(world).active_gpu_seconds, world.job.status.cost.idle_usd) == (None, None)


@given(
    st.lists(st.tuples(st.decimals(0, 100, places=4), st.decimals(0, 1, places=3), st.booleans()), max_size=30),
)
def test_idle_dollars_only_grow_and_are_never_more_than_all(intervals):
    idle, accrued = Decimal(0), Decimal(0)
    for spent, ratio, is_known in intervals:
        accrued, before = accrued + spent, idle
        if is_known:
            idle = wasted(idle, spent, ratio, accrued)
        assert before <= idle <= accrued


def seconds(world, part):
    return Decimal(world.job.status.goodput.seconds.get(part, 0))


def test_evaluating_and_saving_are_taken_out_of_training(running):
    world = running()
    since = world.now
    report(world, since=since, evaluation_seconds=0.0, checkpoint_seconds=0.0)
    world.now += 100
    report(world, step=2, since=since, evaluation_seconds=20.5, checkpoint_seconds=1.25)
    assert [seconds(world, part) for part in ("training", "evaluation", "checkpoint")] == [
        Decimal("78.25"),
        Decimal("20.5"),
        Decimal("1.25"),
    ]
    usd = {part: Decimal(dollars) for part, dollars in world.job.status.goodput.usd.items()}
    assert usd["evaluation"] == Decimal("0.41")
    assert sum(usd.values()) == Decimal(world.job.status.cost.accrued_usd)
    assert world.job.status.goodput.ratio == "1.000"


def test_the_sums_of_a_new_process_begin_anew_and_a_late_report_of_the_one_before_changes_nothing(running):
    world = running()
    since = world.now
    world.now += 100
    report(world, since=since, evaluation_seconds=30.0)
    world.now += 100
    report(world, step=2, since=since + 150, evaluation_seconds=10.0)
    assert seconds(world, "evaluation") == 40
    world.now += 10
    report(world, step=3, since=since, evaluation_seconds=35.0)
    world.now += 10
    report(world, step=4, since=since + 150, evaluation_seconds=10.0)
    assert seconds(world, "evaluation") == 40


def test_never_more_than_was_trained(running):
    world = running()
    since = world.now
    report(world, since=since)
    world.now += 50
    report(world, step=2, since=since, evaluation_seconds=1e9)
    assert (seconds(world, "evaluation"), seconds(world, "training")) == (50, 0)
    world.now += 10
    report(world, step=3, since=since, evaluation_seconds=1e9)
    assert seconds(world, "training") == 10, "it was told once"


def test_a_program_that_does_not_say_since_when_is_not_guessed_at(running):
    world = running()
    report(world)
    world.now += 50
    report(world, step=2, evaluation_seconds=20.0)
    assert seconds(world, "evaluation") == 0


REPORTS = st.lists(
    st.tuples(
        st.integers(0, 40),  # seconds since the one before
        st.booleans(),  # of a new process
        st.integers(0, 30_000),  # ms more that were spent evaluating
        st.integers(0, 9_000),  # and waiting for checkpoints
        st.integers(0, 3),  # times that it is seen
        st.booleans(),  # an earlier one comes once more
    ),
    max_size=12,
)


@given(REPORTS)
def test_whatever_is_reported_and_how_often_the_parts_sum_to_the_time_and_the_dollars(make_world, reports):
    world = runs(make_world())
    since, evaluated, saved, earlier, step = world.now, 0, 0, [], 1
    for later, anew, more, waited, times, late in reports:
        world.now += later
        if anew:
            since, evaluated, saved = world.now, 0, 0
        evaluated, saved, step = evaluated + more, saved + waited, step + 1
        usage = {"since": since, "evaluation_seconds": evaluated / 1000, "checkpoint_seconds": saved / 1000}
        for _ in range(times):
            report(world, step=step, **usage)
        if late and earlier:
            report(world, step=step, **earlier[0])
        earlier.append(usage)
        goodput = world.job.status.goodput
        written = world.job.status.cost.as_of.timestamp() - world.job.metadata.creation_timestamp.timestamp()
        assert sum(map(Decimal, goodput.seconds.values())) == Decimal(str(written))
        assert sum(map(Decimal, goodput.usd.values())) == Decimal(world.job.status.cost.accrued_usd)
        assert all(Decimal(ms) >= 0 for ms in goodput.seconds.values())


def test_time_that_nobody_measured_is_weighed_by_nothing(running):
    """Two hours without an operator: the figure of before holds for as long as it is fresh, and not for all of them."""
    world = running()
    measure(world, 0.0)
    wait(world, 400, 0.0)
    before = Decimal(world.job.status.cost.idle_usd)
    world.now += 7200
    measure(world, 1.0)
    cost = world.job.status.cost
    assert Decimal(cost.idle_usd) - before <= RATE * (FRESH_SECONDS + REFRESH_SECONDS)
    assert Decimal(cost.accrued_usd) > 150


def test_a_process_whose_clock_is_ahead_is_counted_once_when_its_time_has_come(running):
    world = running()
    since = datetime.fromtimestamp(world.now + 60, UTC).isoformat()
    report(world)
    heard = None
    for step in range(2, 12):
        world.now += 10
        usage = {"since": since, "evaluationSeconds": step}
        heard = to_report(Payload.model_validate({"trainerStatus": {"usage": usage}}), heard, world.now)
        world.seen = replace(world.seen, report=replace(heard, step=step))
        world.settle()
        assert seconds(world, "evaluation") == (0 if step < 7 else step)

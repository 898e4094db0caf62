"""Cost and goodput in the status, as the plan writes them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from paceline.api import conditions as c
from paceline.cost.lookup import Host
from paceline.plan.observed import Report
from paceline.plan.pace import REFRESH_SECONDS
from tests.unit.conftest import WHOLE


@pytest.fixture
def priced(make_world):
    """Two nodes of 36 USD an hour, a cent a second each."""
    world = make_world()
    world.start_priced()
    return world


def later(world, seconds):
    world.now += seconds
    return world.settle()


def end(world, name, exit_code=0):
    world.end(name, exit_code)
    world.change(name, ended_at=world.now)


def test_dollars_at_the_rate_of_the_nodes(priced):
    later(priced, REFRESH_SECONDS)
    cost = priced.job.status.cost
    assert (cost.accrued_usd, cost.hourly_rate_usd, cost.gpu_hours) == ("6.0000", "72.0000", "1.3333")
    assert cost.price_source == "annotation paceline.dev/price-per-hour"
    assert not c.holds(priced.job.status.conditions, c.PRICE_UNKNOWN)


def test_nothing_is_written_because_time_goes_by_but_every_five_minutes(priced):
    before = priced.job.status
    decided = later(priced, REFRESH_SECONDS - 1)
    assert priced.job.status == before
    assert decided.wake_at == pytest.approx(priced.now + 1)


def test_of_very_many_jobs_it_is_written_less_often(priced):
    before = priced.job.status
    priced.seen = replace(priced.seen, jobs=2500)
    decided = later(priced, REFRESH_SECONDS)
    assert priced.job.status == before
    assert decided.wake_at == pytest.approx(priced.now + 200)
    later(priced, 200)
    assert priced.job.status.cost.accrued_usd == "10.0000"


def test_the_last_dollar_is_the_one_of_the_last_container(priced):
    later(priced, 100)
    first, second = priced.workers()
    end(priced, first.name)
    later(priced, 50)
    end(priced, second.name)
    later(priced, 7)
    later(priced, 5000)
    assert priced.job.status.phase == "Succeeded"
    assert priced.job.status.cost.accrued_usd == "2.5000"
    assert priced.job.status.cost.hourly_rate_usd == "0.0000"
    del priced.pods[first.name]
    priced.reap()
    later(priced, 5000)
    assert priced.job.status.cost.accrued_usd == "2.5000", "also when its pods are gone"


def test_a_pod_that_left_between_two_looks_is_counted_once(priced):
    gone = priced.pods.pop(priced.names()[1])
    gone = replace(gone, ended_at=priced.now + 40)
    priced.now += 60
    priced.seen = replace(priced.seen, departed=(gone,))
    priced.settle()
    priced.step()
    assert priced.job.status.cost.accrued_usd == "1.0000"
    priced.seen = replace(priced.seen, departed=())
    later(priced, REFRESH_SECONDS)
    assert priced.job.status.cost.accrued_usd == "4.0000"
    assert priced.job.status.cost.uncertain_usd is None


def test_of_a_pod_that_nobody_saw_end_the_uncertainty_is_told(priced):
    del priced.pods[priced.names()[1]]
    later(priced, 60)
    assert priced.job.status.cost.accrued_usd == "1.2000"
    assert priced.job.status.cost.uncertain_usd == "0.6000"


def test_without_a_price_devices_are_counted_and_dollars_are_absent(make_world):
    world = make_world()
    world.set_node("n1", host=Host(instance_type="x9", has=WHOLE))
    world.set_node("n2", host=Host(instance_type="x9", has=WHOLE))
    world.settle()
    for pod in world.workers():
        world.change(pod.name, asks=WHOLE)
    world.run_all()
    world.settle()
    later(world, 900)
    cost = world.job.status.cost
    assert (cost.accrued_usd, cost.forecast_usd, cost.gpu_hours) == (None, None, "4.0000")
    assert world.condition(c.PRICE_UNKNOWN) == ("True", "NoPrice")
    for name in ("n1", "n2"):
        world.set_node(name, host=Host(override="36", has=WHOLE))
    world.settle()
    assert world.condition(c.PRICE_UNKNOWN) == ("False", "Priced")
    assert world.job.status.cost.accrued_usd == "18.0000", "from binding, once the price is known"


def test_the_parts_sum_to_the_time_since_creation_and_to_the_dollars(priced):
    report = Report(priced.now + 10, step=100, total_steps=1000, eta_seconds=3600)
    priced.seen = replace(priced.seen, report=report)
    later(priced, 10)
    later(priced, 200)
    priced.seen = replace(priced.seen, report=replace(report, time=priced.now, step=300))
    priced.settle()
    end(priced, priced.names()[0], exit_code=1)
    later(priced, 20)
    priced.reap()
    priced.run_all()
    for pod in priced.workers():
        priced.change(pod.name, asks=WHOLE)
    later(priced, 30)
    priced.seen = replace(priced.seen, report=replace(report, time=priced.now + 5, step=200))
    later(priced, 5)
    told = priced.job.status.goodput
    created = priced.job.metadata.creation_timestamp.timestamp()
    assert sum(map(Decimal, told.seconds.values())) == Decimal(str(priced.now - created))
    assert sum(map(Decimal, told.usd.values())) == Decimal(priced.job.status.cost.accrued_usd)
    assert Decimal(told.seconds["recovering"]) > 0
    assert Decimal(told.seconds["lost"]) > 0, "100 of 300 steps had to be done again"


def test_the_forecast_is_spent_and_the_rest_at_the_goodput_and_absent_without_progress(priced):
    later(priced, REFRESH_SECONDS)
    assert priced.job.status.cost.forecast_usd is None
    priced.seen = replace(priced.seen, report=Report(priced.now, step=100, total_steps=1000, eta_seconds=3600))
    later(priced, 0)
    cost, ratio = priced.job.status.cost, priced.job.status.goodput.ratio
    assert ratio == "1.000"
    assert Decimal(cost.forecast_usd) == Decimal(cost.accrued_usd) + 72


@pytest.mark.parametrize("epoch", ["nan", "inf", "-1", "0", "1e-300", "first", "1e400"])
def test_an_epoch_that_is_no_sensible_number_has_no_price(priced, epoch):
    """It is the program's own word, by its report or its log."""
    priced.seen = replace(priced.seen, report=Report(priced.now, step=5, epoch=epoch))
    later(priced, 600)
    assert priced.job.status.cost.accrued_usd == "12.0000"
    assert priced.job.status.cost.unit is None


def test_a_time_that_nobody_lives_to_see_is_no_forecast(priced):
    priced.seen = replace(priced.seen, report=Report(priced.now, step=1, eta_seconds=2**62))
    later(priced, 100)
    priced.seen = replace(priced.seen, report=Report(priced.now, step=2, eta_seconds=2**62))
    later(priced, 600)
    assert priced.job.status.cost.accrued_usd == "14.0000"
    assert priced.job.status.cost.forecast_usd is None

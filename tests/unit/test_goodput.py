"""Every millisecond and every dollar has its part."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.cost.goodput import PARTS, Account, Moment, forecast, part_of

ADVANCES = st.lists(
    st.tuples(st.integers(-2000, 90_000), st.integers(-20, 5000), st.sampled_from(PARTS), st.integers(0, 50)), max_size=30
)  # fmt: skip


@given(ADVANCES)
def test_the_parts_sum_to_the_time_and_to_the_ledger(advances):
    account, wall, usd = Account(), 0, 0
    for more, dollars, part, lost in advances:
        wall, usd = max(0, wall + more), max(0, usd + dollars)
        account = account.advance(wall, Decimal(usd) / 10_000, part).lose(lost, 700)
        account = account.set_apart("evaluation", 11 * lost).set_apart("checkpoint", lost)
        assert account.total_ms == wall
        assert sum(account.usd.values()) == Decimal(usd) / 10_000
        assert all(ms >= 0 for ms in account.ms.values())
        ratio = account.ratio()
        assert ratio is None or 0 <= ratio <= 1


def test_time_goes_to_the_part_that_held_until_now():
    account = Account().advance(5000, Decimal(0), "training").advance(65_000, Decimal(1), "recovering")
    account = account.advance(70_000, Decimal("1.5"), "training")
    assert account.ms == {"queued": 5000, "training": 60_000, "recovering": 5000}
    assert (account.usd["training"], account.usd["recovering"]) == (1, Decimal("0.5"))
    assert account.ratio() == pytest.approx(60 / 65)


def test_a_correction_takes_back_what_was_given_and_makes_no_part_negative():
    """Found by test_traces.py: pods that are being deleted cost until they are told to have ended, a second before."""
    account = Account({"training": 9000}, {"training": Decimal(1)}, "suspended").advance(
        10_000, Decimal("0.9"), "suspended"
    )
    assert (account.usd["training"], account.usd["suspended"]) == (Decimal("0.9"), 0)


def test_steps_that_a_failure_took_back_were_not_goodput():
    account = Account({"training": 10_000, "queued": 5}, {"training": Decimal(1)}, "training").lose(4, 500)
    assert (account.ms["training"], account.ms["lost"]) == (8000, 2000)
    assert (account.usd["training"], account.usd["lost"]) == (Decimal("0.8"), Decimal("0.2"))
    assert account.lose(10**6, 500).ms["training"] == 0, "never more than there was"


def test_what_was_no_training_takes_its_share_of_the_dollars_and_stays_productive():
    account = Account({"training": 10_000}, {"training": Decimal(1)}, "training").set_apart("evaluation", 2500)
    assert (account.ms, account.usd["evaluation"], account.ratio()) == (
        {"training": 7500, "evaluation": 2500},
        Decimal("0.25"),
        1,
    )
    assert account.set_apart("checkpoint", 10**6).ms["checkpoint"] == 7500, "never more than there was"


@pytest.mark.parametrize(
    ("moment", "part"),
    [
        (Moment(2, 0, 0), "queued"),
        (Moment(2, 1, 0), "queued"),
        (Moment(2, 2, 0), "pulling"),
        (Moment(2, 2, 1), "rendezvous"),
        (Moment(2, 2, 2, whole=True, stepped=False), "starting"),
        (Moment(2, 2, 2, whole=True, stepped=True), "training"),
        (Moment(2, 2, 2, whole=True, stepped=None), "training"),
        (Moment(2, 2, 1, recovering=True), "recovering"),
        (Moment(2, 2, 2, suspended=True, recovering=True), "suspended"),
    ],
)
def test_what_time_goes_to(moment, part):
    assert part_of(moment) == part


def test_a_forecast_is_what_was_spent_and_the_rest_at_the_goodput_so_far():
    assert forecast(Decimal(10), Decimal(4), 3600, 0.8) == Decimal(15)

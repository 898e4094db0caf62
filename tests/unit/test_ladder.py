"""Which rung answers what, and after what wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from paceline.api.base import at
from paceline.api.status import Cause, Failure, PastFailure
from paceline.api.survival import Restarts
from paceline.plan import causes
from paceline.plan.ladder import Rung, answer, backoff_seconds, within_window

NOW = at(1_800_000_000)
SPEC = Restarts(max=2, window_seconds=3600, backoff_seconds=5, backoff_max_seconds=300)


def failure(cause: Cause, message: str = "m") -> Failure:
    return Failure(cause=cause, message=message, time=NOW)


def past(cause: Cause, seconds_ago: int, message: str = "m") -> PastFailure:
    return PastFailure(cause=cause, message=message, time=NOW - timedelta(seconds=seconds_ago))


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("rung", [Rung.POD, Rung.GANG])
def test_every_cause_has_an_answer(cause, rung):
    first = answer(failure(cause), rung, SPEC, [], [])
    if not causes.curable(cause):
        assert (first.rung, first.because) == (Rung.END, cause)
    elif causes.counts(cause):
        assert (first.rung, first.counts, first.delay_seconds) == (rung, True, 5)
    else:
        assert (first.rung, first.counts, first.delay_seconds) == (rung, False, 0), "at once: it is nobody's fault"


@pytest.mark.parametrize("cause", [c for c in Cause if not causes.counts(c) and causes.curable(c)])
def test_infrastructure_never_ends_a_job_but_backs_off(cause):
    history = [past(cause, 10 * i) for i in range(10)]
    again = answer(failure(cause), Rung.POD, SPEC, [], history)
    assert (again.rung, again.delay_seconds) == (Rung.POD, 300)
    calm = answer(failure(cause), Rung.POD, SPEC, [], [past(cause, 601)])
    assert calm.delay_seconds == 0, "the last one was long ago"
    once = answer(failure(cause), Rung.POD, SPEC, [], [past(cause, 60), past(Cause.CODE_ERROR, 60)])
    assert once.delay_seconds == 5, "the user's own failures are counted apart"


def test_the_users_own_failures_are_bounded_within_the_window():
    window = [NOW - timedelta(seconds=60)]
    assert answer(failure(Cause.CODE_ERROR), Rung.GANG, SPEC, window, []).delay_seconds == 10
    over = answer(failure(Cause.CODE_ERROR), Rung.GANG, SPEC, [*window, NOW], [])
    assert (over.rung, over.because) == (Rung.END, "MaxRestartsExceeded")


def test_times_outside_the_window_are_forgotten():
    times = [NOW - timedelta(seconds=s) for s in (7200, 3600, 3599, 0)]
    assert within_window(times, NOW.timestamp(), 3600) == times[2:]


@pytest.mark.parametrize(("before", "seconds"), [(0, 5), (1, 10), (2, 20), (10, 300), (1000, 300)])
def test_backoff_is_exponential_and_bounded(before, seconds):
    assert backoff_seconds(SPEC, before) == seconds


def test_no_backoff_where_none_is_wanted():
    assert backoff_seconds(Restarts(backoff_seconds=0), 7) == 0

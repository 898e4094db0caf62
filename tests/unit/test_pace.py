"""How often one of many jobs is heard."""

from __future__ import annotations

import pytest

from paceline.api.status import TrainingJobStatus
from paceline.cost.report import STALE_SECONDS
from paceline.plan.observed import Report
from paceline.plan.pace import (
    LONGEST_REFRESH_SECONDS,
    REPORTS_A_SECOND,
    WRITES_A_SECOND,
    company,
    patience,
    refresh_every,
    report_every,
    write_every,
)
from paceline.plan.progress import merge


@pytest.mark.parametrize(
    ("reporting", "stalled_seconds", "seconds"),
    [(0, 900, 2), (1, 900, 2), (200, 900, 2), (1000, 900, 10), (5000, 900, 50), (50000, 900, 225), (1000, 12, 3)],
)
def test_a_job_reports_every(reporting, stalled_seconds, seconds):
    assert report_every(reporting, stalled_seconds) == seconds


def test_all_together_stay_within_the_operators_means():
    for reporting in (500, 1000, 10000):
        assert reporting / report_every(reporting, 10**6) <= REPORTS_A_SECOND
        assert reporting / write_every(reporting) <= WRITES_A_SECOND
    assert write_every(1) == write_every(200) == 5


def test_the_status_is_written_as_often_as_that():
    status, _ = merge(TrainingJobStatus(), Report(100.0, step=1), 100.0, every=20, final=False)
    later, when = merge(status, Report(110.0, step=2), 110.0, every=20, final=False)
    assert (later, when) == (status, 120)
    later, when = merge(status, Report(110.0, step=2), 120.0, every=20, final=False)
    assert (later.progress.step, when) == (2, None)


@pytest.mark.parametrize(
    ("there", "seconds"), [(0, 300), (1, 300), (1500, 300), (2500, 500), (5000, 600), (10**5, 600)]
)
def test_what_a_job_costs_is_written_every(there, seconds):
    assert refresh_every(there) == seconds


def test_what_is_written_that_seldom_does_not_look_abandoned():
    assert LONGEST_REFRESH_SECONDS * 1.25 <= STALE_SECONDS


@pytest.mark.parametrize(("starting", "seconds"), [(0, 2), (20, 2), (150, 15), (1000, 30)])
def test_the_steps_of_a_start_are_told_every(starting, seconds):
    assert patience(starting) == seconds


@pytest.mark.parametrize(("starting", "seconds"), [(0, 0.1), (20, 0.1), (100, 0.5), (1000, 1)])
def test_a_pod_that_comes_up_is_looked_at_within(starting, seconds):
    assert company(starting) == seconds

"""The metrics of jobs: from their status, bounded, and never down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline.controller.job_metrics import JobMetrics
from paceline.controller.metrics import BUDGET_ACTIONS, Metrics
from paceline.controller.series.lifecycle import price_source
from paceline.controller.series.sample import SETTLED_SECONDS
from paceline.plan.observed import Report
from tests.figures import NOW, WRITTEN, full_job, full_status, read

ACTIONS = "paceline_budget_actions_total"
# All that a job can have: its own labels, and what the full status of tests/figures.py gives when it is read.
EVERYTHING = {
    "paceline_job_info": {'capacity_type="spot",gpu_model="H100",price_source="own",team="vision"': 1},
    "paceline_job_phase": {'phase="Running"': 1},
    "paceline_job_created_timestamp_seconds": {"": NOW - 105},
    "paceline_job_started_timestamp_seconds": {"": NOW},
    "paceline_job_cost_usd_total": {'resource="gpu"': 9, 'resource="cpu"': 1},
    "paceline_job_idle_cost_usd_total": {"": 3},
    "paceline_job_lost_cost_usd_total": {'reason="wasted_progress"': 1, 'reason="recovery"': 2, 'reason="startup"': 0.5},
    "paceline_job_cost_rate_usd_per_hour": {"": 36.36},
    "paceline_job_cost_forecast_usd": {"": 100},
    "paceline_job_spot_savings_usd_total": {"": 7},
    "paceline_job_budget_usd": {"": 250},
    "paceline_job_budget_used_ratio": {"": 0.04},
    "paceline_job_gpu_seconds_total": {'state="allocated"': 14400, 'state="active"': 10080},
    "paceline_job_gpu_utilization_ratio": {"": 0.7},
    "paceline_job_mfu_ratio": {"": 0.4},
    "paceline_job_samples_total": {"": 32000},
    "paceline_job_tokens_total": {"": 64_000_000},
    "paceline_job_progress_ratio": {"": 0.25},
    "paceline_job_eta_seconds": {"": 900},
    "paceline_job_last_progress_timestamp_seconds": {"": NOW},
    "paceline_job_goodput_ratio": {"": 0.9},
    "paceline_job_badput_seconds_total": {
        'reason="queued"': 5, 'reason="pulling"': 0, 'reason="starting"': 0, 'reason="rendezvous"': 0, 'reason="lost"': 0,
        'reason="recovering"': 10, 'reason="suspended"': 0,
    },
    "paceline_job_restarts_total": {
        'reason="process"': 1, 'reason="pod"': 2, 'reason="job"': 3, 'reason="infrastructure"': 4,
    },
    "paceline_job_world_size": {"": 2},
    "paceline_job_queue_wait_seconds": {"": 5},
    "paceline_job_checkpoint_age_seconds": {"": 0},
    "paceline_job_checkpoint_seconds": {'op="save"': 2.5, 'op="restore"': 1.5},
    "paceline_job_step_seconds_bucket": {
        'le="0.01"': 0, 'le="0.03"': 0, 'le="0.1"': 0, 'le="0.3"': 10, 'le="1.0"': 10, 'le="3.0"': 10, 'le="10.0"': 10,
        'le="30.0"': 10, 'le="+Inf"': 10,
    },
    "paceline_job_step_seconds_count": {"": 10},
    "paceline_job_step_seconds_sum": {"": 2},
}  # fmt: skip


class Page:
    """Jobs, a clock, and what is served of them."""

    def __init__(self, *jobs, keep=3600):
        self.jobs, self.now = list(jobs), NOW
        self.metrics = JobMetrics(lambda: self.jobs, lambda: self.now, keep)

    def read(self):
        return read(self.metrics.page().decode())


def cost_of(page, resource="gpu"):
    return page.read()["paceline_job_cost_usd_total"][f'resource="{resource}"']


def test_a_full_status_gives_exactly_these_names_labels_and_values():
    page = Page(full_job())
    page.metrics.reported("job-uid", Report(NOW - 2, step=240, attempt=1), Report(NOW, step=250, attempt=1))
    assert page.read() == EVERYTHING


def test_an_ended_job_has_an_end_and_nothing_that_is_of_the_present():
    page = Page(full_job(completionTime=WRITTEN, phase="Succeeded"))
    page.now += 100
    found = page.read()
    assert found["paceline_job_completed_timestamp_seconds"] == {"": NOW}
    gone = set(EVERYTHING) - set(found)
    assert gone == {
        f"paceline_job_{name}"
        for name in (
            "eta_seconds", "checkpoint_age_seconds", "gpu_utilization_ratio", "mfu_ratio", "step_seconds_bucket",
            "step_seconds_count", "step_seconds_sum",
        )
    }  # fmt: skip
    assert cost_of(page) == 9, "nothing goes on"
    assert found["paceline_job_badput_seconds_total"]['reason="recovering"'] == 10


def test_what_has_no_source_is_absent(job_of):
    found = Page(job_of()).read()
    nothing = 'capacity_type="",gpu_model="",price_source="",team=""'
    assert found == {
        "paceline_job_info": {nothing: 1},
        "paceline_job_created_timestamp_seconds": found["paceline_job_created_timestamp_seconds"],
    }


def test_without_a_price_there_are_no_dollars_and_without_devices_none_of_theirs(job_of):
    status = full_status() | {"cost": {"asOf": WRITTEN, "gpuHours": "0.0000", "cpuHours": "3"}}
    found = Page(job_of(status)).read()
    assert not any("usd" in name or "gpu" in name or "mfu" in name for name in found)


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("default: p5.48xlarge us-west-2, on-demand, https://aws.amazon.com: list", "default"),
        ("annotation paceline.dev/price-per-hour", "annotation"),
        (None, ""),
    ],
)
def test_the_source_of_the_price_is_a_books_name_and_no_free_text(source, label):
    assert price_source(source) == label


def test_dollars_and_time_go_on_at_the_rate_of_the_pods_that_are_there():
    page = Page(full_job())
    page.now += SETTLED_SECONDS + 100
    found = page.read()
    assert found["paceline_job_cost_usd_total"] == {'resource="gpu"': 10, 'resource="cpu"': pytest.approx(1.01)}
    assert found["paceline_job_gpu_seconds_total"] == {'state="allocated"': 14400 + 1600, 'state="active"': 10080}
    assert found["paceline_job_badput_seconds_total"]['reason="recovering"'] == 110
    assert found["paceline_job_badput_seconds_total"]['reason="queued"'] == 5
    assert found["paceline_job_checkpoint_age_seconds"] == {"": SETTLED_SECONDS + 100}


def test_a_job_that_queues_waits_longer_and_longer_though_its_status_stands_still():
    page = Page(full_job(goodput={"part": "queued", "seconds": {"queued": "5"}}))
    page.now += SETTLED_SECONDS + 60
    assert page.read()["paceline_job_queue_wait_seconds"] == {"": 65}


def test_a_counter_never_goes_down():
    page = Page(full_job())
    page.now += SETTLED_SECONDS + 100
    assert cost_of(page) == 10
    ended = full_status()["cost"] | {"gpuUSD": "9.9000", "accruedUSD": "10.9000", "spotSavingsUSD": "-4", "ledger": {}}
    page.jobs = [full_job(cost=ended)]
    assert cost_of(page) == 10, "its pods ended before it was told"
    assert page.read()["paceline_job_spot_savings_usd_total"] == {"": 7}, "a failure took it back"
    page.jobs = [full_job(cost=ended | {"gpuUSD": "12.0000", "accruedUSD": "13.0000"})]
    assert cost_of(page) == 12


def test_after_a_restart_counters_stand_where_the_status_says():
    before, after = Page(full_job()), Page(full_job())
    before.now = after.now = NOW + SETTLED_SECONDS + 100
    assert before.read() == after.read()
    # A pod that ended a moment before the restart, and was told of after it: what had been served is not above it.
    late = Page(full_job())
    late.now = NOW + SETTLED_SECONDS
    ended = full_status()["cost"] | {"asOf": "2027-01-15T08:00:04Z", "gpuUSD": "9.0100", "ledger": {}}
    successor = Page(full_job(cost=ended))
    successor.now = late.now + 1
    assert cost_of(successor) >= cost_of(late)


def test_an_old_figure_of_the_use_of_devices_is_not_one_of_now():
    page = Page(full_job())
    page.now += 601
    found = page.read()
    assert "paceline_job_gpu_utilization_ratio" not in found
    assert "paceline_job_mfu_ratio" not in found
    assert 'state="active"' in found["paceline_job_gpu_seconds_total"]


def test_series_of_ended_jobs_expire_and_nothing_is_kept_of_them():
    page = Page(full_job(completionTime=WRITTEN), keep=60)
    page.metrics.reported("job-uid", Report(NOW, step=1), Report(NOW + 1, step=2))
    page.now += 60
    assert page.read()
    page.now += 1
    assert page.read() == {}
    assert (dict(page.metrics._served), page.metrics._steps) == ({}, {})


def test_of_a_job_that_is_gone_nothing_is_kept_though_nobody_reads():
    page = Page(full_job())
    page.metrics.reported("job-uid", Report(NOW, step=1), Report(NOW + 1, step=2))
    page.read()
    page.metrics.forget("job-uid")
    assert (dict(page.metrics._served), page.metrics._steps) == ({}, {})


REPORT = Report(NOW, step=100, attempt=1)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"attempt": 2}, id="another attempt"),
        pytest.param({"restart_count": 1}, id="processes that were started again in place"),
        pytest.param({"step": 90}, id="steps that were taken back"),
        pytest.param({"step": 100}, id="nothing trained"),
        pytest.param({"step": None}, id="no step told"),
        pytest.param({"time": NOW}, id="no time between them"),
    ],
)
def test_what_lies_between_two_reports_is_no_step_time_where_the_program_did_not_simply_train(other):
    page = Page(full_job())
    page.metrics.reported("job-uid", None, REPORT)
    page.metrics.reported("job-uid", REPORT, replace(REPORT, **{"time": NOW + 9, "step": 110} | other))
    assert "paceline_job_step_seconds_count" not in page.read()


def test_a_step_counts_as_often_as_it_was_made_and_the_sum_is_the_time_that_went_by():
    page = Page(full_job())
    page.metrics.reported("job-uid", REPORT, replace(REPORT, time=NOW + 10, step=105))
    page.metrics.reported("job-uid", REPORT, replace(REPORT, time=NOW + 100, step=101))
    found = page.read()
    assert found["paceline_job_step_seconds_count"] == {"": 6}
    assert found["paceline_job_step_seconds_sum"] == {"": 110}
    assert found["paceline_job_step_seconds_bucket"]['le="3.0"'] == 5
    assert found["paceline_job_step_seconds_bucket"]['le="30.0"'] == 5


def test_what_budgets_and_stop_when_did_is_counted_from_zero_and_nothing_else_is():
    metrics = Metrics()
    counts = {
        action: metrics.registry.get_sample_value(ACTIONS, {"action": action}) for action in BUDGET_ACTIONS.values()
    }
    assert counts == {"warn": 0, "suspend": 0, "fail": 0, "stop": 0}
    for reason in (
        "BudgetAtRisk",
        "BudgetExceeded",
        "SuspendedByBudget",
        "FailedByBudget",
        "StoppedByMetric",
        "Started",
    ):
        metrics.announced(reason)
    counts = {action: metrics.registry.get_sample_value(ACTIONS, {"action": action}) for action in counts}
    assert counts == {"warn": 2, "suspend": 1, "fail": 1, "stop": 1}

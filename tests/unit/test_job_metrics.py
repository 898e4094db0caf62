"""The metrics of jobs: from their status, bounded, and never down."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from paceline.controller.job_metrics import JobMetrics

NOW = 1_800_000_000.0


def status(accrued="10.0000", rate="36.0000", as_of="2027-01-15T08:00:00Z", **more):
    cost = {"accruedUSD": accrued, "hourlyRateUSD": rate, "asOf": as_of, "lostUSD": {"recovery": "2"}}
    goodput = {"ratio": "0.900", "seconds": {"training": "90", "recovering": "10"}}
    return {"cost": cost, "goodput": goodput} | more


def served(jobs, clock, keep=3600):
    registry = CollectorRegistry()
    registry.register(JobMetrics(lambda: list(jobs), clock, keep))
    return lambda: {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in generate_latest(registry).decode().splitlines()
        if not line.startswith("#")
    }


MINE = '{job="job",kind="TrainingJob",namespace="default"'
COST = f"paceline_job_cost_usd_total{MINE}}}"


def test_a_job_costs_its_rate_since_its_status_was_written(job_of):
    now = NOW + 100
    found = served([job_of(status())], lambda: now)()
    assert found[COST] == 11
    assert found[f"paceline_job_cost_rate_usd_per_hour{MINE}}}"] == 36
    assert found[f"paceline_job_goodput_ratio{MINE}}}"] == 0.9
    assert found[f'paceline_job_badput_seconds_total{MINE},reason="recovering"}}'] == 10
    assert found[f'paceline_job_lost_cost_usd_total{MINE},reason="recovery"}}'] == 2
    assert f'paceline_job_badput_seconds_total{MINE},reason="training"}}' not in found


def test_a_counter_never_goes_down(job_of):
    jobs, clock = [job_of(status())], [NOW + 100]
    read = served(jobs, lambda: clock[0])
    assert read()[COST] == 11
    jobs[0] = job_of(status(accrued="10.9000", rate="0.0000", as_of="2027-01-15T08:01:40Z"))
    assert read()[COST] == 11, "its pod ended before it was told"
    jobs[0] = job_of(status(accrued="12.0000", rate="0.0000"))
    assert read()[COST] == 12


def test_without_a_price_there_are_no_dollars(job_of):
    found = served([job_of({"cost": {"asOf": "2027-01-15T08:00:00Z", "gpuHours": "3"}})], lambda: NOW)()
    assert not any("usd" in name for name in found)


def test_series_of_ended_jobs_expire_and_nothing_is_kept_of_them(job_of):
    clock = [NOW]
    jobs = [job_of(status(completionTime="2027-01-15T08:00:00Z"))]
    metrics = JobMetrics(lambda: jobs, lambda: clock[0], 60)
    assert sum(len(m.samples) for m in metrics.collect()) == 7
    clock[0] += 61
    assert sum(len(m.samples) for m in metrics.collect()) == 0
    assert metrics._served == {}

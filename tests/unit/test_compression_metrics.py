"""The metrics of CompressionJobs: from their status, bounded, and gone with the job."""

from __future__ import annotations

import math
import re

import pytest

from paceline.api.compression_rules import METRICS, SCORES
from paceline.controller.compression_metrics import CompressionMetrics
from paceline.controller.series import compression as series
from tests.compressed import (
    BASELINE,
    COST,
    DISTILLED,
    GATES,
    QUANTIZED,
    SERVING,
    compression,
    full_status,
    report,
    stage,
)
from tests.kube import ROOT

# When the full status of tests/compressed.py ended.
ENDED = 1_800_000_000.0
LABELS = {'namespace="ml"', 'job="small"', 'kind="CompressionJob"'}
# All that it gives.
EVERYTHING = {
    "paceline_compression_info": {'phase="Succeeded",source="sentiment",verdict="Accepted"': 1},
    "paceline_compression_model_size_bytes": {'stage="source"': 91034112, 'stage="distil"': 69712384, 'stage="int8"': 17694720},
    "paceline_compression_latency_seconds": {
        f'quantile="{quantile}",stage="{each["name"]}"': pytest.approx(float(each[field]) / 1000)
        for each in (BASELINE, DISTILLED, QUANTIZED)
        for quantile, field in (("0.5", "latencyP50"), ("0.95", "latencyP95"), ("0.99", "latencyP99"))
    },
    "paceline_compression_score": {
        f'metric="{metric}",stage="{each["name"]}"': float(each["scores"][metric])
        for each in (BASELINE, DISTILLED, QUANTIZED)
        for metric in ("accuracy", "loss")
    },
    "paceline_compression_gate_passed": {
        'gate="accuracy maxDrop 0.01"': 1, 'gate="sizeBytes minReduction 0.5"': 1, 'gate="latencyP95 minReduction 0.2"': 1,
    },
    "paceline_compression_serving_cost_usd_per_million_requests": {'stage="source"': 5.9031, 'stage="int8"': 1.2619},
    "paceline_compression_break_even_requests": {"": 194712},
    "paceline_compression_cost_usd_total": {"": 0.9037},
    "paceline_compression_budget_used_ratio": {"": 0.1807},
}  # fmt: skip


class Page:
    """Jobs, a clock, and what is served of them."""

    def __init__(self, *jobs, keep=3600):
        self.jobs, self.now = list(jobs), ENDED
        self.metrics = CompressionMetrics(lambda: self.jobs, lambda: self.now, keep)

    def read(self):
        """{name: {its own labels, as written: value}}"""
        found = {}
        for name, labels, value in re.findall(r"^(paceline_\w+)\{(.*)\} (\S+)$", self.metrics.page().decode(), re.M):
            pairs = labels.split(",")
            assert set(pairs) >= LABELS
            found.setdefault(name, {})[",".join(sorted(set(pairs) - LABELS))] = float(value)
        return found


def served(status, **spec):
    return Page(compression(status, **spec)).read()


def test_a_full_status_gives_exactly_these_names_labels_and_values():
    assert served(full_status()) == EVERYTHING


def test_the_documentation_lists_what_there_is():
    docs = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    section = docs.split("## Compressions")[1].split("\n## ")[0]
    listed = {
        name
        for row in re.findall(r"(?m)^\| (`.*?) \|", section)
        for name in re.findall(r"`([a-z_]+(?:\{[a-z,]+\})?)`", row)
    }
    have = {
        family.name.removeprefix("paceline_compression_") + (f"{{{','.join(family.labels)}}}" if family.labels else "")
        for family in series.FAMILIES
    }
    assert listed == have
    assert {family.name for family in series.FAMILIES} == set(EVERYTHING)


def test_what_has_no_source_is_absent():
    nothing = {"paceline_compression_info": {'phase="",source="sentiment",verdict=""': 1}}
    assert served({}) == nothing
    assert served({"cost": {}, "report": {"stages": [{"name": "int8"}], "serving": {}}}) == nothing
    words = stage(QUANTIZED, latencyP50="n/a", scores={"accuracy": "?", "of my own": "1"}, gates=[])
    found = served({"report": {"stages": [words]}})
    assert "paceline_compression_score" not in found
    assert set(found["paceline_compression_latency_seconds"]) == {
        'quantile="0.95",stage="int8"',
        'quantile="0.99",stage="int8"',
    }


def test_a_source_that_is_a_folder_has_no_name():
    source = {"model": {"path": "/models/m", "recipe": {"name": "text-classification"}}}
    assert served({}, source=source)["paceline_compression_info"] == {'phase="",source="",verdict=""': 1}


def test_serving_that_saves_nothing_is_never_paid_for():
    found = served(full_status(report=report(serving=SERVING | {"usdPerMillionAfter": "5.9031"})))
    assert found["paceline_compression_break_even_requests"] == {"": math.inf}


def test_the_gates_are_those_of_the_stage_that_was_taken_else_of_the_last_one_judged():
    missed = [QUANTIZED["gates"][0] | {"passed": False}]
    taken = stage(DISTILLED, gates=QUANTIZED["gates"][:1])
    stages = [taken, stage(QUANTIZED, gates=missed)]
    gate = 'gate="accuracy maxDrop 0.01"'
    of = "paceline_compression_gate_passed"
    assert served(full_status(report=report(stages=stages, candidate="distil")))[of] == {gate: 1}
    assert served(full_status(report=report(stages=stages, candidate=None)))[of] == {gate: 0}
    twice = [stage(QUANTIZED, gates=[*missed, QUANTIZED["gates"][0]])]
    assert served(full_status(report=report(stages=twice)))[of] == {gate: 0}, "one series, and the worse one"


def test_a_stage_that_is_called_source_does_not_hide_it():
    found = served(full_status(report=report(stages=[stage(QUANTIZED, name="source")], candidate="source")))
    assert found["paceline_compression_model_size_bytes"] == {'stage="source"': 91034112}
    assert found["paceline_compression_serving_cost_usd_per_million_requests"] == {'stage="source"': 5.9031}


def test_dollars_never_go_down():
    page = Page(compression(full_status()))
    page.read()
    page.jobs = [compression(full_status(cost=COST | {"accruedUSD": "0.5"}))]
    assert page.read()["paceline_compression_cost_usd_total"] == {"": 0.9037}


def test_series_of_ended_jobs_expire_and_nothing_is_kept_of_them():
    page = Page(compression(full_status()), keep=60)
    page.now += 60
    assert page.read()
    page.now += 1
    assert page.read() == {}
    assert dict(page.metrics._served) == {}


def test_a_job_that_runs_is_served_however_long_it_takes_and_one_that_is_gone_is_not():
    page = Page(compression(full_status(completionTime=None)), keep=60)
    page.now += 10**6
    assert page.read()
    page.jobs = []
    assert page.read() == {}
    assert dict(page.metrics._served) == {}


def test_the_largest_status_has_a_bounded_number_of_series():
    scores = dict.fromkeys([*SCORES, *(f"own-{n}" for n in range(24 - len(SCORES)))], "0.5")
    gates = [QUANTIZED["gates"][0] | {"metric": metric} for metric in METRICS[:16]]
    stages = [stage(QUANTIZED, name=f"s{n}", scores=scores, gates=gates) for n in range(8)]
    largest = full_status(report=report(stages=stages, candidate="s7", baseline=BASELINE | {"scores": scores}))
    found = served(largest, gates=GATES)
    assert sum(map(len, found.values())) == 148, "docs/metrics.md says so"

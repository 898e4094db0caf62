"""What a CompressionJob has come to: each stage beside the source, its gates, and when it is paid for."""

from __future__ import annotations

import math
from collections.abc import Iterator

from paceline.api.compression_rules import SCORES
from paceline.api.compression_status import Measured, Report, ServingReport
from paceline.api.compressionjob import CompressionJob
from paceline.controller.series.sample import Family, Sample, counter, gauge, number
from paceline.render.compression_report.judging import never_pays

INFO = gauge(
    "paceline_compression_info",
    "1; verdict and phase, empty until there is one, and the TrainingJob that is compressed, empty for a model's folder.",
    "verdict", "phase", "source",
)  # fmt: skip
SIZE = gauge("paceline_compression_model_size_bytes", "Size of the file that is served.", "stage")
LATENCY = gauge("paceline_compression_latency_seconds", "Time of one call.", "stage", "quantile")
SCORE = gauge("paceline_compression_score", "On the evaluation split.", "stage", "metric")
GATE = gauge(
    "paceline_compression_gate_passed", "1 where the gate is met by the stage that was judged last, else 0.", "gate"
)
SERVING = gauge(
    "paceline_compression_serving_cost_usd_per_million_requests",
    "Dollars of serving a million requests, by the source and by the stage that was taken.",
    "stage",
)
BREAK_EVEN = gauge(
    "paceline_compression_break_even_requests",
    "Requests after which the compression has paid for itself; +Inf where serving it saves nothing.",
)
COST = counter("paceline_compression_cost_usd_total", "Dollars spent on all stages of all trials.")
BUDGET_USED = gauge("paceline_compression_budget_used_ratio", "Dollars spent over the budget.")

FAMILIES = (INFO, SIZE, LATENCY, SCORE, GATE, SERVING, BREAK_EVEN, COST, BUDGET_USED)

# A stage that a user calls so, too, has no series: the source's own are what all others are compared with.
SOURCE = "source"


def samples(job: CompressionJob, _now: float) -> Iterator[Sample]:
    status, ref = job.status, job.spec.source.training_job_ref
    yield Sample(INFO, 1, (str(status.verdict or ""), str(status.phase or ""), ref.name if ref else ""))
    if status.cost is not None:
        yield from _known(COST, number(status.cost.accrued_usd))
        yield from _known(BUDGET_USED, number(status.cost.budget_used_ratio))
    if status.report is None:
        return
    # By name: a stage that was told twice has one series.
    models = {each.name: each for each in status.report.stages}
    if status.report.baseline is not None:
        models[SOURCE] = status.report.baseline
    for name, model in models.items():
        yield from _model(name, model)
    yield from _gates(status.report)
    if status.report.serving is not None:
        yield from _serving(status.report, status.report.serving)


def _model(name: str, model: Measured) -> Iterator[Sample]:
    yield from _known(SIZE, model.size_bytes, name)
    for quantile, text in (("0.5", model.latency_p50), ("0.95", model.latency_p95), ("0.99", model.latency_p99)):
        ms = number(text)
        yield from _known(LATENCY, None if ms is None else ms / 1000, name, quantile)
    # A program may report any number of further scores by any name.
    for metric in SCORES:
        yield from _known(SCORE, number(model.scores.get(metric)), name, metric)


def _gates(report: Report) -> Iterator[Sample]:
    """Of the stage that was taken, or else of the last one that was judged."""
    judged = [each for each in report.stages if each.gates]
    chosen = [each for each in judged if each.name == report.candidate] or judged
    met: dict[str, bool] = {}
    for gate in chosen[-1].gates if chosen else ():
        name = f"{gate.metric} {gate.goal} {gate.value}"
        met[name] = gate.passed and met.get(name, True)
    for name, passed in met.items():
        yield Sample(GATE, passed, (name,))


def _serving(report: Report, serving: ServingReport) -> Iterator[Sample]:
    yield from _known(SERVING, number(serving.usd_per_million_before), SOURCE)
    if report.candidate is not None and report.candidate != SOURCE:
        yield from _known(SERVING, number(serving.usd_per_million_after), report.candidate)
    yield from _known(BREAK_EVEN, math.inf if never_pays(serving) else number(serving.break_even_requests))


def _known(family: Family, value: float | None, *labels: str) -> Iterator[Sample]:
    if value is not None:
        yield Sample(family, value, labels)

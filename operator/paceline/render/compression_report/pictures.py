"""Which figures of a job the plots show."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from paceline.api.compression_status import Measured, Trial
from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report.figures import figure, number, size
from paceline.render.compression_report.judging import error_of, lower_is_better, report_of, score_metric
from paceline.render.compression_report.plots import Mark, Point, by_stage, pareto
from paceline.render.compression_report.tables import STAGES, TRIALS, models

MEGABYTE = 10**6


def plots(title: str, job: CompressionJob) -> str:
    """Of the section of this title; empty where it has none, or nothing to draw is known."""
    drawn = {STAGES: _of_stages, TRIALS: _of_trials}.get(title)
    found = "".join(drawn(job)) if drawn else ""
    return f'<div class="plots">{found}</div>' if found else ""


def _of_stages(job: CompressionJob) -> Iterator[str]:
    found, metric, candidate = models(job), score_metric(job), report_of(job).candidate
    yield by_stage("Size by stage", [_size(each, candidate) for each in found], bars=True)
    yield by_stage(
        "Latency by stage: median with its spread; ticks: p95 and p99",
        [_latency(each, candidate) for each in found],
        bars=True,
    )
    yield by_stage(
        f"{metric} by stage ± standard error; the axis does not begin at 0",
        [_score(each, metric, candidate) for each in found],
        bars=False,
    )


def _size(one: Measured, candidate: str | None) -> Mark:
    value = None if one.size_bytes is None else Decimal(one.size_bytes)
    return _mark(one.name, value, None, size(one.size_bytes).text, taken=one.name == candidate)


def _latency(one: Measured, candidate: str | None) -> Mark:
    spread = number(one.latency_p50_spread)
    ticks = tuple(float(each) for text in (one.latency_p95, one.latency_p99) if (each := number(text)) is not None)
    return _mark(
        one.name,
        number(one.latency_p50),
        None if spread is None else spread / 2,
        figure(one.latency_p50, "ms").text,
        ticks=ticks,
        taken=one.name == candidate,
    )


def _score(one: Measured, metric: str, candidate: str | None) -> Mark:
    text = one.scores.get(metric)
    error = number(error_of(one, metric))
    return _mark(one.name, number(text), error, figure(text).text, taken=one.name == candidate)


def _mark(
    name: str, value: Decimal | None, around: Decimal | None, words: str, *, ticks: tuple[float, ...] = (), taken: bool
) -> Mark:
    """``around``: half of the spread."""
    if value is None:
        return Mark(name, None, words, ticks=ticks, taken=taken)
    low, high = (None, None) if around is None else (float(value - around), float(value + around))
    return Mark(name, float(value), words, low, high, ticks, taken)


def _of_trials(job: CompressionJob) -> Iterator[str]:
    report, metric = report_of(job), score_metric(job)
    for title, unit in (("Trials: size and score", "MB"), ("Trials: latency and score", "ms")):
        points = [_trial(each, unit, job) for each in report.trials]
        if report.baseline is not None:
            points.append(_point("source", report.baseline, report.baseline.scores.get(metric), unit, "source"))
        known = [point for point in points if point is not None]
        if any(point.kind != "source" for point in known):
            yield pareto(title, unit, metric, known, lower_is_better=lower_is_better(metric))


def _trial(one: Trial, unit: str, job: CompressionJob) -> Point | None:
    report = report_of(job)
    chosen = any(each.name == report.candidate and each.trial == one.trial for each in report.stages)
    kind = "taken" if chosen else "trial" if one.passed else "missed"
    return _point(f"trial {one.trial}" + (" (taken)" if chosen else ""), one, one.score, unit, kind)


def _point(name: str, one: Trial | Measured, score: str | None, unit: str, kind: str) -> Point | None:
    x = number(one.latency_p50)
    if unit == "MB":
        x = None if one.size_bytes is None else Decimal(one.size_bytes) / MEGABYTE
    y = number(score)
    if x is None or y is None:
        return None
    return Point(name, float(x), float(y), f"{name}: {x:.4g} {unit}, score {score}", kind)

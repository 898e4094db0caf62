"""What a figure is worth beside the source's: faster or slower, within the spread, within the error, passed, paid for."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from paceline.api.compression_rules import LOWER_SCORES, SCORES
from paceline.api.compression_status import GateResult, Measured, Report, ServingReport
from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report.figures import UNKNOWN, Cell, number, unknown


def report_of(job: CompressionJob) -> Report:
    return job.status.report or Report()


def score_metric(job: CompressionJob) -> str:
    """The metric of the first score gate, else the accuracy: the one that Trial.score is of."""
    return next((gate.metric for gate in job.spec.gates if gate.metric in SCORES), "accuracy")


def lower_is_better(metric: str) -> bool:
    return metric in LOWER_SCORES


def taken(job: CompressionJob) -> Measured | None:
    """The stage that was taken."""
    report = report_of(job)
    return next((each for each in report.stages if each.name == report.candidate), None)


def spread_of_medians(one: Measured, source: Measured | None) -> tuple[Decimal, Decimal] | None:
    """(difference of this median to the source's in the same runtime, both spreads together), ms; None where either is unknown.

    Of a source that was timed in another runtime the median follows from the speedup, and its spread is that of the runtime in
    which it was timed: the only one there is.
    """
    median, factor = number(one.latency_p50), number(one.speedup)
    own, its = number(one.latency_p50_spread), number(source.latency_p50_spread) if source else None
    if median is None or factor is None or own is None:
        return None
    timed = number(source.latency_p50) if source and source.runtime and source.runtime == one.runtime else None
    reference = factor * median if timed is None else timed
    return abs(reference - median), own + (its or Decimal(0))


def speed_words(one: Measured, source: Measured | None) -> list[str]:
    """``slower`` where it is below 1, ``within the spread`` where the medians differ by no more than both spreads together."""
    factor = number(one.speedup)
    if factor is None:
        return []
    words = ["slower"] if factor < 1 else []
    apart = spread_of_medians(one, source)
    if apart is None:
        return [*words, "spread unknown"]
    return [*words, "within the spread"] if apart[0] <= apart[1] else words


def speed(one: Measured, source: Measured | None) -> Cell:
    if one.speedup is None:
        return unknown()
    words = speed_words(one, source)
    mood: Literal["", "bad"] = "bad" if words and words != ["spread unknown"] else ""
    return Cell(f"{one.speedup}×" + (f" ({', '.join(words)})" if words else ""), mood=mood)


def difference(one: Measured, source: Measured | None, metric: str) -> Decimal | None:
    """Of the score to the source's, as it is written: below 0 is less."""
    own, its = number(one.scores.get(metric)), number(source.scores.get(metric)) if source else None
    return None if own is None or its is None else own - its


def error_of(one: Measured, metric: str) -> str | None:
    """Its standard error. The status has that of the accuracy alone."""
    return one.standard_error if metric == "accuracy" else None


def within_error(one: Measured, source: Measured | None, metric: str) -> bool:
    """Is the difference no larger than the standard error of a difference of two independent scores? Those of one evaluation set
    are not independent, and differ by less: who passes here is not told apart by this set."""
    apart = difference(one, source, metric)
    errors = [number(error_of(each, metric)) for each in (one, source) if each is not None]
    if apart is None or None in errors:
        return False
    return apart**2 <= sum((error**2 for error in errors if error is not None), Decimal(0))


def score(one: Measured, source: Measured | None, metric: str) -> Cell:
    """0.9010 ± 0.0041 (-0.0010, within the error)."""
    value = one.scores.get(metric)
    if value is None:
        return unknown()
    error, apart = error_of(one, metric), difference(one, source, metric)
    text = f"{value} ± {error or UNKNOWN}"
    if one is source:
        return Cell(text)
    if apart is None:
        return Cell(f"{text} (difference {UNKNOWN})")
    return Cell(f"{text} ({apart:+f}" + (", within the error)" if within_error(one, source, metric) else ")"))


def asked(gate: GateResult, job: CompressionJob) -> str:
    """As the spec has it: accuracy maxDrop 0.01, relative."""
    relative = any(
        each.relative and (each.metric, each.goal, each.value) == (gate.metric, gate.goal, gate.value)
        for each in job.spec.gates
    )
    return f"{gate.metric} {gate.goal} {gate.value}" + (", relative" if relative else "")


def never_pays(serving: ServingReport | None) -> bool:
    """Both costs are known, and serving the compressed model costs no less."""
    if serving is None:
        return False
    before, after = number(serving.usd_per_million_before), number(serving.usd_per_million_after)
    return before is not None and after is not None and after >= before

"""The report's sentences: the verdict, what the figures hold for, and what is unknown."""

from __future__ import annotations

from collections.abc import Iterator

from paceline.api.compression_status import Measured, Verdict
from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report.figures import number, size
from paceline.render.compression_report.judging import (
    asked,
    difference,
    error_of,
    report_of,
    score_metric,
    speed_words,
    taken,
    within_error,
)

HOLDS = (
    "Gains hold for these settings only: another device, batch size, number of threads, length of input or version needs a "
    "measurement of its own."
)
MASKS = "prune.unstructured sets weights to zero behind masks: by itself that makes a model neither smaller nor faster."


def headline(job: CompressionJob) -> str:
    """The verdict in a sentence, or why there is none."""
    status, found = job.status, taken(job)
    match status.verdict:
        case Verdict.ACCEPTED if found is not None:
            return f"Accepted: {found.name} is {compared(found, job)}."
        case Verdict.ACCEPTED:
            return "Accepted; which stage was taken is unknown."
        case Verdict.REGRESSION:
            return f"Regression: the compressed model {_missed(job)}. {_left(job)}"
        case Verdict.INFEASIBLE:
            trials = report_of(job).trials
            none = f"none of {len(trials)} trials" if len(trials) > 1 else "no trial"
            return f"Infeasible: {none} met every gate; the last one {_missed(job)}. {_left(job)}"
        case Verdict.BUDGET_EXCEEDED:
            budget, spent = job.spec.cost.budget, status.cost.accrued_usd if status.cost else None
            of = f" of ${budget.max_usd}" if budget else ""
            said = f"${spent}{of}" if spent else f"the budget{of}"
            return f"BudgetExceeded: {said} was spent{_where(job)}. {_left(job)}"
    if status.phase == "Failed":
        return f"No verdict: the job has failed{_where(job)}."
    return f"No verdict yet: {status.phase or 'Pending'}{_where(job)}."


def _where(job: CompressionJob) -> str:
    stage, trial = job.status.stage, job.status.trial
    return f" in stage {stage}{f' of trial {trial}' if trial else ''}" if stage else ""


def compared(one: Measured, job: CompressionJob) -> str:
    """A stage beside the source, for the middle of a sentence."""
    return "; ".join((_size(one), _speed(one, job), _score(one, job)))


def environment(job: CompressionJob) -> str:
    """What was asked to be measured with; the environment says what it was."""
    how = job.spec.measure
    return (
        f"Asked for: {how.device}, {how.threads} thread{'s' if how.threads > 1 else ''}, batch {how.batch}, {how.runs} timed "
        f"calls of each model, interleaved with the source's; of a text model, {how.tokens} tokens a text."
    )


def notes_on_stages(job: CompressionJob) -> Iterator[str]:
    """How to read the stages' table."""
    report, metric = report_of(job), score_metric(job)
    if not report.stages:
        yield "No stage has been measured yet."
        return
    yield (
        "Ratios and speedups are against the source in the same format and runtime. "
        "Spread: interquartile range of the median over the rounds; "
        "within the spread: the medians differ by no more than both spreads together, so that no gain is proven."
    )
    samples = report.baseline.samples if report.baseline else None
    on = "an evaluation split of unknown size" if samples is None else f"{samples} samples of the evaluation split"
    yield (
        f"Score: {metric} on {on}, ± standard error; in brackets the difference to the source's, within the error where it is no "
        "larger than the standard error of the difference."
    )
    if any(each.method == "prune.unstructured" for each in report.stages):
        yield MASKS
    if len(report.trials) > 1:
        trials = sorted({each.trial for each in report.stages})
        yield f"These are the stages of trial {', '.join(map(str, trials))}; the cost of the whole job is that of all trials."


def unknowns(job: CompressionJob) -> Iterator[str]:
    """What the report cannot say, and why."""
    status, report = job.status, report_of(job)
    if not job.spec.gates:
        yield "No gates were set: nothing was asked of the result, and the verdict says nothing about its quality."
    if report.baseline is None:
        yield "The source was not measured: nothing here can be compared with it."
    for each in [report.baseline, *report.stages]:
        if each is not None and (absent := _absent(each, job, source=each is report.baseline)):
            yield f"Of {each.name}: {', '.join(absent)}."
    if status.cost is None or status.cost.accrued_usd is None:
        yield "What the compression cost: no price is known of the machines that it ran on, or nothing has run."
    if status.cost is None or status.cost.source_usd is None:
        yield "What training the source cost."
    if report.serving is None:
        yield "What serving costs: nothing has been served yet."
    elif report.serving.usd_per_hour is None:
        yield "What serving costs: no price is known of what serves."
    if not report.environment:
        yield "What was measured with: no environment was reported."


def _size(one: Measured) -> str:
    times = number(one.size_ratio)
    if times is None:
        return f"{size(one.size_bytes).text} (ratio unknown)" if one.size_bytes is not None else "of unknown size"
    if times > 1:
        return f"{one.size_ratio} times smaller"
    return f"not smaller (size ratio {one.size_ratio}:1)"


def _speed(one: Measured, job: CompressionJob) -> str:
    if one.speedup is None:
        return "its speed is unknown"
    words = speed_words(one, report_of(job).baseline)
    aside = f" ({', '.join(words)})" if words else ""
    return f"{one.speedup} times as fast{aside} as the source in the same runtime"


def _score(one: Measured, job: CompressionJob) -> str:
    metric, source = score_metric(job), report_of(job).baseline
    value = one.scores.get(metric)
    if value is None:
        return f"its {metric} is unknown"
    apart = difference(one, source, metric)
    if apart is None or source is None:
        return f"{metric} {value} (the source's is unknown)"
    error = ", within the error" if within_error(one, source, metric) else ""
    return f"{metric} {value} where the source has {source.scores[metric]} ({apart:+f}{error})"


def _missed(job: CompressionJob) -> str:
    judged = next((each for each in reversed(report_of(job).stages) if each.gates), None)
    if judged is None:
        return "missed gates that the status does not name"
    missed = [f"{asked(gate, job)} (reached {gate.reached or 'unknown'})" for gate in judged.gates if not gate.passed]
    if not missed:
        return "met the gates that were judged last"
    return f"missed {len(missed)} of {len(judged.gates)} gates after {judged.name}: {'; '.join(missed)}"


def _left(job: CompressionJob) -> str:
    found = taken(job)
    if found is not None:
        return f"{found.name} was kept: it is {compared(found, job)}."
    return "An artifact was left." if job.status.artifact else "No model is released."


def _absent(one: Measured, job: CompressionJob, *, source: bool) -> list[str]:
    metric = score_metric(job)
    held = {
        "size": one.size_bytes,
        "parameters": one.parameters,
        "multiply-accumulates": one.macs,
        "median latency": one.latency_p50,
        "95th percentile": one.latency_p95,
        "99th percentile": one.latency_p99,
        "spread of the median": one.latency_p50_spread,
        "throughput": one.throughput,
        metric: one.scores.get(metric),
        f"standard error of {metric}": error_of(one, metric),
    }
    if not source:
        held |= {"size ratio": one.size_ratio, "speedup": one.speedup, "cost": one.cost_usd, "time": one.seconds}
    return [name for name, value in held.items() if value is None]

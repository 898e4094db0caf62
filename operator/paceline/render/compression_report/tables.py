"""The report's sections: tables of cells, and the sentences below them. Markdown, HTML and the terminal write the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from paceline.api.base import to_rfc3339
from paceline.api.compression_status import CompressionCost, Measured, ServingReport
from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report import figures, sentences
from paceline.render.compression_report.figures import NONE, Cell, unknown
from paceline.render.compression_report.judging import asked, never_pays, report_of, score, score_metric, speed

STAGES, GATES, TRIALS = "Stages", "Gates", "Trials"


@dataclass(frozen=True, slots=True)
class Section:
    """``columns``: empty where the section has sentences only."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sentences: tuple[str, ...] = ()


def sections(job: CompressionJob) -> list[Section]:
    """In the order of the report; one that has nothing to say of this job is left out."""
    return [
        stages(job),
        *_some(_scores(job)),
        *_some(gates(job)),
        *_some(trials(job)),
        economics(job),
        _environment(job),
        lineage(job),
        *([Section("What is unknown", (), (), told)] if (told := tuple(sentences.unknowns(job))) else []),
    ]


def models(job: CompressionJob) -> list[Measured]:
    """The source, and each stage."""
    report = report_of(job)
    return [*([report.baseline] if report.baseline else []), *report.stages]


def stages(job: CompressionJob) -> Section:
    columns = (
        "Stage", "Method", "Target", "Runtime", "Size", "Ratio", "Parameters", "MACs", "p50", "Spread", "p95", "p99",
        "Throughput", "Speedup", "Over eager", "Score", "Gates", "Cost", "Time",
    )  # fmt: skip
    rows = tuple(tuple(_model(each, job)) for each in models(job))
    return Section(STAGES, columns if rows else (), rows, tuple(sentences.notes_on_stages(job)))


def gates(job: CompressionJob) -> Section:
    rows = tuple(
        (
            Cell(each.name),
            Cell(asked(gate, job)),
            unknown() if gate.reached is None else Cell(gate.reached),
            Cell("passed", mood="good") if gate.passed else Cell("failed", mood="bad"),
        )
        for each in report_of(job).stages
        for gate in each.gates
    )
    note = (
        f"Reached: in the goal's own terms. Where one fails, {job.spec.on_gate_fail} (spec.onGateFail) says what is done.",
    )
    return Section(GATES, ("Stage", "Asked", "Reached", ""), rows, note)


def economics(job: CompressionJob) -> Section:
    spec, found = job.spec.serving, report_of(job).serving
    month = f"{spec.requests_per_month} requests a month" if spec.requests_per_month else "requests a month: not given"
    known = found.assumptions if found else []
    told = (
        f"Reckoned with: {month}; hardware {spec.hardware}; utilization {spec.utilization} (spec.serving).",
        *known,
        "Dollars for a million requests: price an hour × 1,000,000 ÷ (requests a second × 3600 × utilization).",
    )
    if found is None:
        return Section("Serving", (), (), ("Nothing has been served yet: what serving costs is unknown.", *told))
    rows = (
        (
            Cell("Requests a second"),
            figures.figure(found.requests_per_second_before),
            figures.figure(found.requests_per_second_after),
        ),
        (
            Cell("Dollars for a million requests"),
            figures.usd(found.usd_per_million_before),
            figures.usd(found.usd_per_million_after),
        ),
        (Cell("Price of what serves, an hour"), figures.usd(found.usd_per_hour), figures.usd(found.usd_per_hour)),
        (Cell("Saved a month"), Cell(NONE), _saved(found, job)),
        (Cell("Paid for after, requests"), Cell(NONE), _break_even(found, found.break_even_requests)),
        (Cell("Paid for after, days"), Cell(NONE), _days(found, job)),
    )
    return Section("Serving", ("", "Source", "Compressed"), rows, told)


def lineage(job: CompressionJob) -> Section:
    status, ref, model = job.status, job.spec.source.training_job_ref, job.spec.source.model
    cost, artifact = status.cost or CompressionCost(), status.artifact
    budget, used = job.spec.cost.budget, cost.budget_used_ratio
    rows: list[tuple[str, Cell]] = []
    if ref is not None:
        rows.append(("Source", Cell(f"TrainingJob {job.metadata.namespace}/{ref.name}")))
    elif model is not None:
        rows.append(("Source", Cell(f"{model.path}, of the recipe {model.recipe.name}")))
    rows += [
        ("Training the source cost", figures.usd(cost.source_usd)),
        ("Compressing cost (every stage, trial and recovery)", figures.usd(cost.accrued_usd)),
        ("Together", _together(cost)),
    ]
    if budget is not None:
        rows.append(("Budget", Cell(f"${budget.max_usd}")))
        rows.append(("Share of it that is spent", unknown() if used is None else Cell(used)))
    rows.append(("Price from", figures.figure(cost.price_source)))
    if status.start_time is not None:
        rows.append(("Began", Cell(to_rfc3339(status.start_time))))
    if status.completion_time is not None:
        rows.append(("Ended", Cell(to_rfc3339(status.completion_time))))
    if artifact is not None:
        formats = f" ({', '.join(artifact.formats)})" if artifact.formats else ""
        rows.append(("Artifact", Cell(artifact.path + formats)))
        rows.append(("SHA-256", figures.figure(artifact.sha256)))
    return Section("Lineage", ("", ""), tuple((Cell(name), cell) for name, cell in rows))


def _model(one: Measured, job: CompressionJob) -> Iterator[Cell]:
    source, metric = report_of(job).baseline, score_metric(job)
    is_source = one is source
    yield Cell(one.name + (" (taken)" if one.name == report_of(job).candidate and not is_source else ""), one.path)
    yield from (figures.plain(one.method), figures.plain(one.target), figures.plain(one.runtime))
    yield figures.size(one.size_bytes)
    yield Cell(NONE) if is_source else figures.ratio(one.size_ratio)
    yield from (figures.amount(one.parameters), figures.amount(one.macs))
    yield figures.figure(one.latency_p50, "ms")
    yield unknown() if one.latency_p50_spread is None else Cell(f"{one.latency_p50_spread} ms")
    yield from (figures.figure(one.latency_p95, "ms"), figures.figure(one.latency_p99, "ms"))
    yield figures.figure(one.throughput, "/s")
    yield Cell(NONE) if is_source else speed(one, source)
    yield Cell(NONE) if one.speedup_over_eager is None else Cell(f"{one.speedup_over_eager}×")
    yield score(one, source, metric)
    yield passed(one)
    yield figures.usd(one.cost_usd)
    yield figures.duration(one.seconds)


def passed(one: Measured) -> Cell:
    """2 of 3 passed."""
    if not one.gates:
        return Cell(NONE)
    met = sum(gate.passed for gate in one.gates)
    return Cell(f"{met} of {len(one.gates)} passed", mood="good" if met == len(one.gates) else "bad")


def _scores(job: CompressionJob) -> Section:
    """All that the evaluation reported, where it is more than the one score."""
    found = models(job)
    names = sorted({name for each in found for name in each.scores} - {score_metric(job)})
    rows = tuple((Cell(name), *(figures.figure(each.scores.get(name)) for each in found)) for name in names)
    told = tuple(f"{each.name}: {each.samples} samples." for each in found if each.samples is not None)
    return Section("Further scores", ("Metric", *(each.name for each in found)), rows, told)


def trials(job: CompressionJob) -> Section:
    report = report_of(job)
    chosen = {each.trial for each in report.stages if each.name == report.candidate}
    rows = tuple(
        (
            Cell(f"{each.trial}{' (taken)' if each.trial in chosen else ''}"),
            figures.plain(", ".join(f"{stage}: {target}" for stage, target in each.targets.items())),
            Cell(each.stage),
            figures.size(each.size_bytes),
            figures.figure(each.latency_p50, "ms"),
            figures.figure(each.score),
            Cell("all met", mood="good") if each.passed else Cell(", ".join(each.missed) or "missed", mood="bad"),
        )
        for each in report.trials
    )
    columns = ("Trial", "Targets", "Last stage", "Size", "p50", score_metric(job), "Gates")
    return Section(TRIALS, columns, rows, (f"{len(rows)} of at most {job.spec.max_trials} trials.",))


def _environment(job: CompressionJob) -> Section:
    rows = tuple((Cell(name), Cell(value)) for name, value in report_of(job).environment.items())
    return Section("Environment", ("", "") if rows else (), rows, (sentences.environment(job), sentences.HOLDS))


def _saved(found: ServingReport, job: CompressionJob) -> Cell:
    if found.usd_saved_per_month is None and job.spec.serving.requests_per_month is None:
        return unknown("requestsPerMonth is not given")
    return figures.usd(found.usd_saved_per_month)


def _break_even(found: ServingReport, text: str | None) -> Cell:
    if never_pays(found):
        return Cell("never: serving it saves nothing", mood="bad")
    return figures.figure(text)


def _days(found: ServingReport, job: CompressionJob) -> Cell:
    if found.break_even_days is None and job.spec.serving.requests_per_month is None and not never_pays(found):
        return unknown("requestsPerMonth is not given")
    return _break_even(found, found.break_even_days)


def _together(cost: CompressionCost) -> Cell:
    both = [figures.number(text) for text in (cost.source_usd, cost.accrued_usd)]
    known = [each for each in both if each is not None]
    return Cell(f"${sum(known, Decimal(0)):f}") if len(known) == len(both) else unknown()


def _some(section: Section) -> Iterable[Section]:
    return [section] if section.rows else []

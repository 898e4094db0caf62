"""`paceline report`: a CompressionJob's report in the terminal, as JSON, and into files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from paceline.api.compressionjob import CompressionJob
from paceline.cli.cluster import Cluster
from paceline.cli.tables import show_sentences, show_whole
from paceline.render.compression_report import sentences, tables
from paceline.render.compression_report.figures import Cell
from paceline.render.compression_report.judging import report_of
from paceline.render.compression_report.tables import Section

PREFIXES = ("cpj/", "cj/", "compressionjob/", "compressionjobs/")
# Of the stages' table, what has room in a terminal; the pages have all.
COLUMNS = ("Stage", "Method", "Target", "Size", "Ratio", "p50", "Spread", "p95", "Speedup", "Score", "Gates", "Cost")
STYLES = {"good": "green", "bad": "red", "unknown": "dim"}


class ReportError(ValueError):
    """Names the cause, and the cure."""


def read(cluster: Cluster, name: str) -> CompressionJob:
    """``name``: as NAME or cpj/NAME. Raises ClusterError, and ReportError where there is nothing to report."""
    plain = next((name.removeprefix(each) for each in PREFIXES if name.startswith(each)), name)
    if "/" in plain:
        raise ReportError(f"{name}: reports are of CompressionJobs; give NAME, cpj/NAME or compressionjob/NAME")
    try:
        job = CompressionJob.parse(cluster.compression(plain))
    except ValidationError as error:
        raise ReportError(f"{plain} is of another version of the CRD, and cannot be read: {error}") from error
    found = report_of(job)
    if found.baseline is None and not found.stages:
        why = f" {job.status.message}" if job.status.message else ""
        raise ReportError(
            f"{job.key} has measured nothing yet. {sentences.headline(job)}{why} (kubectl describe cj {plain} -n "
            f"{job.metadata.namespace})"
        )
    return job


def save(path: Path, text: str) -> None:
    """Raises ReportError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}: give a file in a folder that is there") from error


def show(job: CompressionJob) -> None:
    """The verdict, then the tables, then what they hold for."""
    shown = [
        _chosen(tables.stages(job)),
        tables.gates(job),
        tables.trials(job),
        tables.economics(job),
        tables.lineage(job),
    ]
    show_sentences([sentences.headline(job), *([job.status.message] if job.status.message else []), ""])
    for section in shown:
        if section.rows:
            show_whole(_table(section), [""])
    show_sentences(_notes(job))


def print_json(job: CompressionJob) -> None:
    """The report as the status has it, and what it is of."""
    status = job.status
    answer = {
        "namespace": job.metadata.namespace,
        "name": job.metadata.name,
        "phase": status.phase,
        "verdict": status.verdict,
        "headline": sentences.headline(job),
        "source": job.spec.source.wire(),
        "report": report_of(job).wire(),
        "cost": None if status.cost is None else status.cost.wire(),
        "artifact": None if status.artifact is None else status.artifact.wire(),
        "unknown": list(sentences.unknowns(job)),
    }
    print(json.dumps(answer, indent=2))


def _chosen(section: Section) -> Section:
    places = [section.columns.index(name) for name in COLUMNS if section.columns]
    rows = tuple(tuple(row[place] for place in places) for row in section.rows)
    return Section(section.title, tuple(section.columns[place] for place in places), rows)


def _table(section: Section) -> Table:
    table = Table(box=None, header_style="bold", show_header=any(section.columns))
    for column in section.columns:
        table.add_column(column.upper(), no_wrap=True)
    for row in section.rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=STYLES.get(cell.mood, ""))


def _notes(job: CompressionJob) -> Iterator[str]:
    yield from sentences.notes_on_stages(job)
    yield from tables.economics(job).sentences
    yield sentences.environment(job)
    if found := report_of(job).environment:
        yield f"Measured with: {', '.join(f'{name} {value}' for name, value in found.items())}."
    yield sentences.HOLDS
    if absent := " ".join(sentences.unknowns(job)):
        yield f"Unknown: {absent}"

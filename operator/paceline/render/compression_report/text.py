"""The report as Markdown (tables as GitHub has them)."""

from __future__ import annotations

import re

from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report.figures import Cell
from paceline.render.compression_report.sentences import headline
from paceline.render.compression_report.tables import Section, sections


def markdown(job: CompressionJob) -> str:
    """Of any status, also of a job that has measured nothing yet. What users and programs wrote is shown as it was written."""
    parts = [f"# Compression of {_safe(job.key)}", f"**{_safe(headline(job))}**"]
    if job.status.message:
        parts.append(_safe(job.status.message))
    for section in sections(job):
        parts.append(f"## {section.title}")
        if section.columns:
            parts.append(_table(section))
        parts += [f"- {_safe(sentence)}" for sentence in section.sentences]
    return re.sub(r"(?m)^(- .*)\n\n(?=- )", r"\1\n", "\n\n".join(parts)) + "\n"


def _table(section: Section) -> str:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = [line([_cell(cell) for cell in row]) for row in section.rows]
    return "\n".join([line([_safe(c) for c in section.columns]), line(["---"] * len(section.columns)), *rows])


def _cell(cell: Cell) -> str:
    return f"**{_safe(cell.text)}**" if cell.mood == "bad" else _safe(cell.text)


def _safe(text: str) -> str:
    """In one line, and nothing in it means anything to Markdown or HTML."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", one_line)

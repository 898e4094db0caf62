"""The report as one HTML page: style and plots in it, no script, nothing that is loaded from anywhere."""

from __future__ import annotations

from html import escape

from paceline.api.compressionjob import CompressionJob
from paceline.render.compression_report.figures import Cell
from paceline.render.compression_report.pictures import plots
from paceline.render.compression_report.sentences import headline
from paceline.render.compression_report.tables import Section, sections

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--page:#fff;--faint:#6b7280;--line:#d8dee4;--bar:#5b7fb9;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--page:#14171b;--faint:#9aa4b0;--line:#333b45;--bar:#7ea2dc;--good:#56d364;
--bad:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0 auto;max-width:76rem;padding:1.5rem}
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}.verdict{font-size:1.15rem;border-left:4px solid var(--bar);
padding-left:.8rem}.Accepted{border-color:var(--good)}.Regression,.Infeasible,.BudgetExceeded,.Failed{border-color:var(--bad)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--faint);
font-weight:600}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.unknown{color:var(--faint);font-style:italic}
ul{color:var(--faint);padding-left:1.1rem}.plots{display:flex;flex-wrap:wrap;gap:1rem 2rem}
figure{margin:0;width:380px;max-width:100%}figcaption{font-weight:600;font-size:.86rem}svg{width:100%;height:auto}text{font-size:11px;fill:var(--ink)}.bar{fill:var(--bar)}
.bar.taken{fill:var(--good)}line{stroke:var(--ink);stroke-width:1.5}.axis{stroke:var(--line)}.tick{stroke:var(--faint)}
.front{fill:none;stroke:var(--faint);stroke-dasharray:4 3}circle.trial{fill:var(--bar)}circle.missed{fill:none;stroke:var(--bad);
stroke-width:2}circle.taken{fill:var(--good);stroke:var(--ink);stroke-width:2}circle.source{fill:none;stroke:var(--ink)}
"""


def html(job: CompressionJob) -> str:
    """Of any status, also of a job that has measured nothing yet."""
    title, status = escape(f"Compression of {job.key}"), job.status
    state = status.verdict or status.phase or ""
    said = f"<p>{escape(status.message)}</p>" if status.message else ""
    parts = [_section(section, plots(section.title, job)) for section in sections(job)]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<h1>{title}</h1><p class="verdict {escape(state)}">{escape(headline(job))}</p>{said}{"".join(parts)}</body></html>\n'
    )


def _section(section: Section, drawn: str) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in section.columns)
    head = f"<tr>{names}</tr>" if any(section.columns) else ""
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
    table = f'<div class="wide"><table>{head}{rows}</table></div>' if section.columns else ""
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in section.sentences)
    return f"<h2>{escape(section.title)}</h2>{table}{drawn}{f'<ul>{notes}</ul>' if notes else ''}"


def _cell(cell: Cell) -> str:
    css = f' class="{cell.mood}"' if cell.mood else ""
    exact = f' title="{escape(cell.exact)}"' if cell.exact else ""
    return f"<td{css}{exact}>{escape(cell.text)}</td>"

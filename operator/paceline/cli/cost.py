"""`paceline cost`: what the cluster's jobs have cost, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from paceline.api.trainingjob import TrainingJob
from paceline.cli.cluster import Json
from paceline.cli.tables import show_whole
from paceline.cost.report import By, Line, Sum, line, sums, total, within
from paceline.plan.books import read_ledger

METRIC = "paceline_job_cost_usd_total"
# Not kept by day.
FIGURES = ["usdPerHour", "gpuHours", "idleUSD", "lostUSD"]
NO_TEAM = "(no team)"
# Jobs that a sentence names one by one.
NAMED = 5


class QuestionError(ValueError):
    """Names the option, and the cure."""


@dataclass(frozen=True, slots=True)
class Bill:
    """``since``, ``until``: days, both included; ``notes``: what the figures mean, for people."""

    by: By
    now: datetime
    since: date | None
    until: date | None
    rows: list[Sum]
    whole: Sum
    notes: list[str]

    @property
    def split(self) -> bool:
        """Are dollars told by day, or of some days? Nothing else is kept by day."""
        return self.by == "day" or self.since is not None or self.until is not None


def day(option: str, text: str, today: date) -> date | None:
    """``7d``: the last seven days, today among them; or a date. Empty: None. Raises QuestionError."""
    if not text:
        return None
    if found := re.fullmatch(r"([1-9][0-9]{0,4})d", text):
        return today - timedelta(days=int(found[1]) - 1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise QuestionError(f"{option} {text}: must be a number of days (7d) or a date (2026-11-01), in UTC") from None


def bill(found: Iterable[Json], by: By, now: datetime, since: str = "", until: str = "") -> Bill:
    """Of these TrainingJobs, as the API server has them. Raises QuestionError."""
    first, last = day("--since", since, now.date()), day("--until", until, now.date())
    if first is not None and last is not None and first > last:
        raise QuestionError(f"--since {first} is after --until {last}")
    lines, unread = list[Line](), list[str]()
    for obj in found:
        try:
            job = TrainingJob.parse(obj)
        except ValidationError:
            unread.append(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")
            continue
        lines.append(line(job, read_ledger(job.status.cost), now))
    if first is not None or last is not None:
        lines = within(lines, first, last)
    notes = list(_notes(lines, by, now, first, last))
    if unread:
        notes.append(f"Left out, as they are of another version of the CRD: {_named(unread)}.")
    return Bill(by, now, first, last, sums(lines, by), total(lines), notes)


def show(found: Bill, output: str, *, everywhere: bool) -> None:
    if output == "table":
        _print(found, everywhere=everywhere)
        return
    rows, fields = [_row(each) for each in found.rows], _fields(found)
    rows = [{name: row[name] for name in fields} for row in rows]
    if output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=fields)
        writer.writeheader()
        writer.writerows(rows)
        return
    whole = _row(found.whole)
    answer = {
        "asOf": found.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": found.by,
        "since": found.since and found.since.isoformat(),
        "until": found.until and found.until.isoformat(),
        "rows": rows,
        "total": {name: whole[name] for name in ("jobs", "usd", *([] if found.split else FIGURES))},
        "notes": found.notes,
    }
    print(json.dumps(answer, indent=2))


def _print(found: Bill, *, everywhere: bool) -> None:
    columns = {"job": ["JOB", "TEAM", "PHASE"], "namespace": ["NAMESPACE"], "team": ["TEAM"], "day": ["DAY"]}[found.by]
    columns = ["NAMESPACE", *columns] if found.by == "job" and everywhere else columns
    figures = ([] if found.by == "job" else ["JOBS"]) + ([] if found.split else ["GPU-H", "USD/H", "IDLE", "LOST"])
    figures += ["BUDGET", "USD"] if found.by == "job" else ["USD"]
    table = Table(box=None, header_style="bold")
    for column in [*columns, *figures]:
        table.add_column(column, no_wrap=True, justify="right" if column in figures else "left")
    for each in found.rows:
        cells = _cells(each, found)
        table.add_row(*(cells[column] for column in [*columns, *figures]))
    cells = _cells(found.whole, found) | dict.fromkeys(columns, "") | {columns[0]: "TOTAL", "BUDGET": ""}
    table.add_row(*(cells[column] for column in [*columns, *figures]), style="bold")
    show_whole(table, found.notes)


def _cells(each: Sum, found: Bill) -> dict[str, str]:
    one, known = each.lines[0] if each.lines else None, each.key
    budget = one.budget_usd if one else None
    unknown = _why(each)
    return {
        "NAMESPACE": known[0] if known else "",
        "JOB": known[-1] if known else "",
        "TEAM": one.team or ("" if found.by == "job" else NO_TEAM) if one else "",
        "DAY": known[0] if known else "",
        "PHASE": one.phase if one else "",
        "JOBS": str(each.jobs),
        "GPU-H": _money(each.gpu_hours),
        "USD/H": _money(each.usd_per_hour),
        "IDLE": _money(each.idle_usd),
        "LOST": _money(each.lost_usd),
        "BUDGET": "" if budget is None else _money(budget),
        "USD": unknown if each.usd is None else _money(each.usd),
    }


def _fields(found: Bill) -> list[str]:
    figures = [] if found.split else FIGURES
    if found.by == "job":
        return ["namespace", "job", "team", "phase", "usd", "unknown", *figures, "budgetUSD"]
    return [found.by, "jobs", "usd", *figures]


def _row(each: Sum) -> dict[str, Any]:
    one, key = each.lines[0] if each.lines else None, each.key[0] if each.key else ""
    return {
        "namespace": key,
        "job": each.key[-1] if each.key else "",
        "team": one.team if one else "",
        "day": key,
        "phase": one.phase if one else "",
        "jobs": each.jobs,
        "usd": _exact(each.usd),
        "unknown": "" if each.usd is not None else _why(each),
        "usdPerHour": _exact(each.usd_per_hour),
        "gpuHours": _exact(each.gpu_hours),
        "idleUSD": _exact(each.idle_usd),
        "lostUSD": _exact(each.lost_usd),
        "budgetUSD": _exact(one.budget_usd) if one else None,
    }


def _why(each: Sum) -> str:
    return next((one.why for one in each.lines if one.why), "-")


def _money(amount: Decimal | None) -> str:
    return "-" if amount is None else f"{amount:,.2f}"


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _notes(lines: list[Line], by: By, now: datetime, since: date | None, until: date | None) -> Iterable[str]:
    yield f"Jobs that run are counted to now, at {now:%H:%M} UTC on {now:%Y-%m-%d}, at the rates of their pods."
    if since is not None or until is not None or by == "day":
        span = f"{f' from {since}' if since else ''}{f' to {until}' if until else ''}"
        yield f"Whole days (UTC){span}: hours, rates, idle and lost dollars are not kept by day, and left out."
    unpriced = [each for each in lines if each.why == "price unknown"]
    if unpriced:
        hours = sum((each.gpu_hours or Decimal(0) for each in unpriced), Decimal(0))
        yield (
            f"Without a price, and in no sum of dollars: {_named(_names(unpriced))} ({hours:.2f} GPU hours in all). "
            f"The condition PriceUnknown of each says what to do."
        )
    if partly := [each for each in lines if each.unpriced_hours and not each.why]:
        hours = sum((each.unpriced_hours for each in partly), Decimal(0))
        yield f"Of {_named(_names(partly))}, {hours:.2f} hours of pods had no price, and are in no sum of dollars."
    if uncounted := [each for each in lines if each.why not in ("", "price unknown")]:
        yield f"Not counted by any operator yet: {_named(_names(uncounted))}."
    if uncertain := sum((each.uncertain_usd for each in lines), Decimal(0)):
        yield f"At most {_money(uncertain)} USD of all this too much: pods vanished while no operator ran."
    if stale := [each for each in lines if each.stale is not None]:
        age = max(each.stale for each in stale if each.stale is not None).total_seconds() / 3600
        yield (
            f"Nobody has written what these cost for up to {age:.1f} h, though they ran: {_named(_names(stale))}. "
            f"Is the operator running?"
        )
    if (since is not None) and (more := [each for each in lines if each.first_day_holds_more]):
        yield f"The first day of these has all that they spent before it, too: {_named(_names(more))}."
    yield f"Jobs that were deleted are not in it: Prometheus has them, as {METRIC}."


def _names(lines: Iterable[Line]) -> list[str]:
    return [f"{each.namespace}/{each.job}" for each in lines]


def _named(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest

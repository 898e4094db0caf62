"""`paceline advise`: a job's work over the price book, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from paceline.api import KIND
from paceline.api.spec import TrainingJobSpec
from paceline.cost.advise import PEAKS, Option, Preemptions, Scaling, Work, cheapest, fastest, of_size, options
from paceline.cost.prices import Machine, PriceBookError, parse

DEVICES = ("nvidia.com/gpu", "amd.com/gpu")


class AdviceError(ValueError):
    """Names the option or the field, and the cure."""


@dataclass(frozen=True, slots=True)
class Question:
    """``hours``: that the job takes as it is; else ``samples`` in all at ``throughput`` samples a second of one device."""

    job: Path
    device: str
    hours: float | None = None
    samples: float | None = None
    throughput: float | None = None
    within_hours: float = math.inf
    under_usd: Decimal | None = None
    scaling: str = ""
    preemptions: Preemptions = field(default_factory=Preemptions)
    max_machines: int = 16
    price_book: Path | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """``size``: as many devices as the job asks for; ``best``: sentences over all numbers of machines."""

    size: list[Option]
    best: list[str]
    basis: list[str]


def advise(question: Question) -> Advice:
    """Raises AdviceError."""
    _check(question)
    book, devices = _book(question.price_book), _devices(question.job)
    if question.device not in {machine.accelerator for machine in book} | set(PEAKS):
        known = ", ".join(sorted({machine.accelerator for machine in book if machine.accelerator} | set(PEAKS)))
        raise AdviceError(f"--on {question.device}: unknown; there are: {known}")
    work, scaling = Work(_device_hours(question, devices), question.device), _scaling(question.scaling)
    size = of_size(book, devices, work, scaling, question.preemptions)
    every = options(book, range(1, question.max_machines + 1), work, scaling, question.preemptions)
    if not every:
        raise AdviceError(f"no machine of the price book has devices whose speed beside {question.device} is known")
    return Advice(size, list(_best(every, question)), list(_basis(book, question, work, every)))


def show(advice: Advice, output: str) -> None:
    if output == "table":
        console = Console()
        if not console.is_terminal:
            console.width = 120
        table = Table(box=None, header_style="bold")
        for column in ("MACHINES", "DEVICES", "HOW", "USD/H", "HOURS", "USD", "SPEED"):
            table.add_column(column, no_wrap=True, justify="right" if column in ("USD/H", "HOURS", "USD") else "left")
        for one in advice.size:
            rate, hours, usd = f"{one.usd_per_hour:.2f}", f"{one.hours:.1f}", f"{one.usd:.2f}"
            table.add_row(*_words(one), rate, hours, usd, "estimated" if one.estimated else "measured")
        console.print(table)
        for sentence in [*advice.best, *advice.basis]:
            console.print(sentence, highlight=False, soft_wrap=True)
        return
    rows = [_row(one) for one in advice.size]
    if output == "json":
        print(json.dumps({"options": rows, "best": advice.best, "basis": advice.basis}, indent=2))
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else ["machine"])
    writer.writeheader()
    writer.writerows(rows)


def _book(path: Path | None) -> list[Machine]:
    try:
        if path is None:
            return parse(files("paceline.cost").joinpath("price-book.csv").read_text(encoding="utf-8"))
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, PriceBookError) as error:
        raise AdviceError(f"--price-book: {error}") from error


def _devices(path: Path) -> int:
    """That the manifest's first TrainingJob asks for, over all nodes."""
    try:
        found: list[Any] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise AdviceError(f"-f: {error}") from error
    jobs = [one for one in found if isinstance(one, dict) and one.get("kind") == KIND]
    if not jobs:
        raise AdviceError(f"-f: there is no {KIND} in {path}")
    try:
        spec = TrainingJobSpec.model_validate(jobs[0].get("spec"))
    except ValidationError as error:
        wrong = [f"-f: {'.'.join(['spec', *map(str, one['loc'])])}: {one['msg']}" for one in error.errors()]
        raise AdviceError("\n".join(wrong)) from error
    limits = {name: spec.resources.limits[name] for name in DEVICES if name in spec.resources.limits}
    for name, limit in limits.items():
        if not str(limit).isdecimal():
            raise AdviceError(f"-f: spec.resources.limits.{name} must be a whole number, not {limit!r}")
    devices = spec.nodes * sum(int(limit) for limit in limits.values())
    if devices < 1:
        raise AdviceError(f"-f: spec.resources.limits has no {' or '.join(DEVICES)}: what is compared are accelerators")
    return devices


def _check(question: Question) -> None:
    """What the options' own bounds let through."""
    work = [value for value in (question.hours, question.samples, question.throughput) if value is not None]
    if not all(math.isfinite(value) and value > 0 for value in work):
        raise AdviceError("--hours, --samples and --throughput must be finite and above 0")
    if not math.isfinite(question.preemptions.per_machine_hour) or not math.isfinite(question.preemptions.hours_lost):
        raise AdviceError("--preemptions-per-hour and --lost-minutes must be finite")


def _device_hours(question: Question, devices: int) -> float:
    if question.hours is not None and question.samples is None and question.throughput is None:
        return question.hours * devices
    if question.hours is None and question.samples is not None and question.throughput is not None:
        return question.samples / question.throughput / 3600
    raise AdviceError("how much work is it? Give --hours, or --samples with --throughput")


def _scaling(text: str) -> Scaling:
    """``2:0.97,4:0.92``: machines, and each one's share of a lone one's speed."""
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        measured = tuple((int(machines), float(share)) for machines, share in pairs)
    except ValueError as error:
        raise AdviceError(f"--scaling {text}: must be like 2:0.97,4:0.92: {error}") from error
    if any(machines < 1 or not 0 < share <= 1 for machines, share in measured):
        raise AdviceError(f"--scaling {text}: machines count from 1, and shares are above 0 and at most 1")
    return Scaling(measured)


def _best(every: list[Option], question: Question) -> list[str]:
    limit = "" if math.isinf(question.within_hours) else f" within {question.within_hours:g} h"
    limits = {f"Cheapest{limit}": cheapest(every, question.within_hours)}
    if question.under_usd is not None:
        limits[f"Fastest under ${question.under_usd}"] = fastest(every, question.under_usd)
    nothing = f"nothing, with at most {question.max_machines} machines of a kind."
    return [f"{what}: {_sentence(found) if found else nothing}" for what, found in limits.items()]


def _basis(book: list[Machine], question: Question, work: Work, every: list[Option]) -> list[str]:
    dates = sorted({machine.as_of for machine in book})
    unknown = sorted({m.accelerator for m in book if m.accelerator and work.speed(m.accelerator) is None})
    said = [f"Prices as of {dates[0]}" + (f" to {dates[-1]}" if dates[0] != dates[-1] else "") + "; they age."]
    said.append(f"The work is {work.device_hours:.1f} hours of one {work.device}.")
    if any(one.estimated for one in every):
        said.append("Speeds of other devices are estimated from dense BF16 peaks.")
    if unknown:
        said.append(f"Left out, as their speed beside {work.device} is unknown: {', '.join(unknown)}.")
    said.append(
        f"Several machines scale as measured ({question.scaling})."
        if question.scaling
        else "Several machines are taken to scale linearly: nothing measured was given (--scaling)."
    )
    if any(one.purchase == "spot" for one in every) and not question.preemptions.per_machine_hour:
        said.append("Spot is counted without preemptions: nothing measured was given (--preemptions-per-hour).")
    return said


def _words(one: Option) -> tuple[str, str, str]:
    return f"{one.machines} × {one.machine.name}", f"{one.devices} × {one.machine.accelerator}", one.purchase


def _sentence(one: Option) -> str:
    machines, devices, how = _words(one)
    return f"{machines} ({devices}), {how}: {one.hours:.1f} h, ${one.usd:.2f}."


def _row(one: Option) -> dict[str, Any]:
    return {
        "machine": one.machine.instance_type,
        "region": one.machine.region,
        "zone": one.machine.zone,
        "machines": one.machines,
        "accelerator": one.machine.accelerator,
        "devices": one.devices,
        "purchase": one.purchase,
        "usdPerHour": f"{one.usd_per_hour:.4f}",
        "hours": round(one.hours, 4),
        "usd": f"{one.usd:.2f}",
        "speed": "estimated" if one.estimated else "measured",
        "asOf": one.machine.as_of.isoformat(),
        "source": one.machine.source,
    }

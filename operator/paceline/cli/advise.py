"""`paceline advise`: a job's work over the price book, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.table import Table

from paceline.api import KIND
from paceline.api.spec import TrainingJobSpec
from paceline.cli.tables import show_whole
from paceline.cost import measured
from paceline.cost.advise import PEAKS, Option, Preemptions, Scaling, Work, cheapest, fastest, of_size, options
from paceline.cost.measured import DEVICES, Basis, Figure, Run
from paceline.cost.prices import Machine, PriceBookError, parse

# Of a preemption whose loss nobody has measured.
LOST_HOURS = 10 / 60


class AdviceError(ValueError):
    """Names the option or the field, and the cure."""


@dataclass(frozen=True, slots=True)
class Question:
    """``hours``: that the job takes as it is; else ``samples`` in all at ``throughput`` samples a second of one device. ``runs``
    speak where nothing is given by hand, the ``device`` among it."""

    job: TrainingJobSpec
    device: str | None = None
    hours: float | None = None
    samples: float | None = None
    throughput: float | None = None
    within_hours: float = math.inf
    under_usd: Decimal | None = None
    scaling: str = ""
    preemptions_per_hour: float | None = None
    lost_hours: float | None = None
    max_machines: int = 16
    price_book: Path | None = None
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What the answer rests on. ``work``: where its amount is from; ``throughput`` in samples a second of one device;
    ``preemptions`` an hour of a spot machine."""

    work: Basis
    throughput: Figure[float | None]
    scaling: Figure[Scaling]
    preemptions: Figure[float]
    lost_hours: Figure[float]


@dataclass(frozen=True, slots=True)
class Advice:
    """``size``: as many devices as the job asks for; ``best``: sentences over all numbers of machines."""

    size: list[Option]
    best: list[str]
    basis: list[str]
    figures: Figures


def advise(question: Question) -> Advice:
    """Raises AdviceError."""
    _check(question)
    book, devices = _book(question.price_book), _devices(question.job)
    known = sorted({machine.accelerator for machine in book if machine.accelerator} | set(PEAKS))
    device = _device(question, devices, known)
    useless = {each.name: why for each in question.runs if (why := _useless(each, devices, device, known))}
    figures = _figures(question, devices, [each for each in question.runs if each.name not in useless])
    work, scaling = Work(_device_hours(question, devices, figures), device), figures.scaling.value
    preemptions = Preemptions(figures.preemptions.value, figures.lost_hours.value)
    size = of_size(book, devices * question.job.nodes, work, scaling, preemptions)
    every = options(book, range(1, question.max_machines + 1), work, scaling, preemptions)
    if not every:
        raise AdviceError(f"no machine of the price book has devices whose speed beside {device} is known")
    basis = [
        *_basis(book, work, every),
        *_from(question, device, figures, useless, spot=any(o.purchase == "spot" for o in every)),
    ]
    return Advice(size, _best(every, question), basis, figures)


def show(advice: Advice, output: str) -> None:
    if output == "table":
        table = Table(box=None, header_style="bold")
        for column in ("MACHINES", "DEVICES", "HOW", "USD/H", "HOURS", "USD", "SPEED"):
            table.add_column(column, no_wrap=True, justify="right" if column in ("USD/H", "HOURS", "USD") else "left")
        for one in advice.size:
            rate, hours, usd = f"{one.usd_per_hour:.2f}", f"{one.hours:.1f}", f"{one.usd:.2f}"
            table.add_row(*_words(one), rate, hours, usd, _speed(one, advice))
        show_whole(table, [*advice.best, *advice.basis])
        return
    rows = [_row(one, advice) for one in advice.size]
    if output == "json":
        answer = {"options": rows, "best": advice.best, "basis": advice.basis, "figures": _told(advice.figures)}
        print(json.dumps(answer, indent=2))
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


def read(path: Path) -> TrainingJobSpec:
    """The manifest's first TrainingJob. Raises AdviceError."""
    try:
        found: list[Any] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise AdviceError(f"-f: {error}") from error
    jobs = [one for one in found if isinstance(one, dict) and one.get("kind") == KIND]
    if not jobs:
        raise AdviceError(f"-f: there is no {KIND} in {path}")
    try:
        return TrainingJobSpec.model_validate(jobs[0].get("spec"))
    except ValidationError as error:
        wrong = [f"-f: {'.'.join(['spec', *map(str, one['loc'])])}: {one['msg']}" for one in error.errors()]
        raise AdviceError("\n".join(wrong)) from error


def _devices(spec: TrainingJobSpec) -> int:
    """That a worker asks for."""
    try:
        devices = measured.devices(spec)
    except ValueError as error:
        raise AdviceError(f"-f: {error}") from error
    if devices < 1:
        raise AdviceError(f"-f: spec.resources.limits has no {' or '.join(DEVICES)}: what is compared are accelerators")
    return devices


def _check(question: Question) -> None:
    """What the options' own bounds let through."""
    work = [value for value in (question.hours, question.samples, question.throughput) if value is not None]
    if not all(math.isfinite(value) and value > 0 for value in work):
        raise AdviceError("--hours, --samples and --throughput must be finite and above 0")
    if not math.isfinite(question.preemptions_per_hour or 0) or not math.isfinite(question.lost_hours or 0):
        raise AdviceError("--preemptions-per-hour and --lost-minutes must be finite")


def _device(question: Question, devices: int, known: list[str]) -> str:
    """As it is given, else as the runs had it."""
    if question.device is not None:
        if question.device not in known:
            raise AdviceError(f"--on {question.device}: unknown; there are: {', '.join(known)}")
        return question.device
    found = sorted({each.device for each in question.runs if each.devices == devices and each.device})
    if len(found) == 1 and found[0] in known:
        return found[0]
    why = f"the runs had {', '.join(found)}" if found else "no run tells"
    raise AdviceError(f"which device is it of? Give --on ({why}; there are: {', '.join(known)})")


def _useless(run: Run, devices: int, device: str, known: list[str]) -> str:
    """Why the run says nothing of the speed; empty where it does. A name that is not known may be another one of the device."""
    if run.devices != devices:
        return "another number of devices a worker"
    if run.device != device and run.device in known:
        return f"on {run.device}"
    return "" if run.samples_per_second else "no speed of its present size"


def _figures(question: Question, devices: int, fit: list[Run]) -> Figures:
    """What is given by hand, else what the runs have measured, else what is assumed or unknown. ``fit``: they tell a speed."""
    runs, linear, lost = question.runs, Scaling(), question.lost_hours
    speed: Figure[float | None] | None = None
    if question.throughput is not None:
        speed = Figure(question.throughput, "given")
    elif (found := measured.throughput(fit, devices)) is not None:
        speed = Figure(found.value, found.basis, found.jobs)
    given = Figure(_scaling(question.scaling), "given") if question.scaling else None
    often = None if question.preemptions_per_hour is None else Figure(question.preemptions_per_hour, "given")
    return Figures(
        work="given" if question.hours is not None or speed is None else speed.basis,
        throughput=speed or Figure(None, "unknown"),
        scaling=given or measured.scaling(fit, devices) or Figure(linear, "assumed"),
        preemptions=often or measured.preemptions_per_hour(runs) or Figure(0.0, "unknown"),
        lost_hours=(Figure(lost, "given") if lost is not None else measured.hours_lost(runs))
        or Figure(LOST_HOURS, "assumed"),
    )


def _device_hours(question: Question, devices: int, figures: Figures) -> float:
    if question.hours is not None and question.samples is None and question.throughput is None:
        nodes = question.job.nodes
        share = figures.scaling.value.efficiency(nodes)
        if share is None:
            raise AdviceError(
                f"--hours are of {nodes} machines, and how these scale was not measured: add it to --scaling"
            )
        return question.hours * devices * nodes * share
    speed = figures.throughput.value
    if question.hours is None and question.samples is not None and speed is not None:
        return question.samples / speed / 3600
    raise AdviceError(
        "how much work is it? Give --hours, or --samples with --throughput (or --from a run that says how fast it was)"
    )


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


def _basis(book: list[Machine], work: Work, every: list[Option]) -> list[str]:
    dates = sorted({machine.as_of for machine in book})
    unknown = sorted({m.accelerator for m in book if m.accelerator and work.speed(m.accelerator) is None})
    said = [f"Prices as of {dates[0]}" + (f" to {dates[-1]}" if dates[0] != dates[-1] else "") + "; they age."]
    said.append(f"The work is {work.device_hours:.1f} hours of one {work.device}.")
    if any(one.estimated for one in every):
        said.append("Speeds of other devices are estimated from dense BF16 peaks.")
    if unknown:
        said.append(f"Left out, as their speed beside {work.device} is unknown: {', '.join(unknown)}.")
    return said


def _from(question: Question, device: str, figures: Figures, useless: dict[str, str], *, spot: bool) -> Iterator[str]:
    """Of each figure, where it is from."""
    if question.device is None:
        on = ", ".join(each.name for each in question.runs if each.device == device)
        yield f"The device is {device}: measured ({on})."
    speed, scaling, often, lost = figures.throughput, figures.scaling, figures.preemptions, figures.lost_hours
    if question.hours is not None:
        yield "Hours: given."
    else:
        yield f"Samples: given; {speed.value:.4g} a second of one {device}: {speed.words}."
    if scaling.basis == "assumed":
        yield "Several machines: assumed to scale linearly; nothing was measured or given (--from, --scaling)."
    else:
        fewest = scaling.value.measured[0][0]
        more = f"; fewer than {fewest} are assumed to lose nothing" if scaling.jobs and fewest > 1 else ""
        yield f"Several machines scale as {scaling.words}: {_shares(scaling.value)}{more}."
    if spot and often.basis == "unknown":
        yield "Spot: how often it is preempted is unknown, and not counted (--from a run on spot, --preemptions-per-hour)."
    elif spot:
        yield (
            f"Spot: {often.value:.4g} preemptions an hour of a machine, {often.words}; "
            f"each takes {lost.value * 60:.1f} minutes, {lost.words}."
        )
    if useless:
        yield f"No throughput is taken from: {', '.join(f'{name} ({why})' for name, why in useless.items())}."


def _shares(scaling: Scaling) -> str:
    return ",".join(f"{machines}:{share:.4g}" for machines, share in scaling.measured)


def _told(figures: Figures) -> dict[str, Any]:
    def told(figure: Figure[Any], value: Any) -> dict[str, Any]:
        return {"value": None if figure.basis == "unknown" else value, "basis": figure.basis, "jobs": list(figure.jobs)}

    return {
        "samplesPerSecondOfADevice": told(figures.throughput, figures.throughput.value),
        "scaling": told(figures.scaling, _shares(figures.scaling.value) or "linear"),
        "preemptionsPerHour": told(figures.preemptions, figures.preemptions.value),
        "lostMinutes": told(figures.lost_hours, figures.lost_hours.value * 60),
    }


def _words(one: Option) -> tuple[str, str, str]:
    return f"{one.machines} × {one.machine.name}", f"{one.devices} × {one.machine.accelerator}", one.purchase


def _sentence(one: Option) -> str:
    machines, devices, how = _words(one)
    return f"{machines} ({devices}), {how}: {one.hours:.1f} h, ${one.usd:.2f}."


def _speed(one: Option, advice: Advice) -> str:
    """By the peaks, or as whatever says how much work it is."""
    return "estimated" if one.estimated else advice.figures.work


def _row(one: Option, advice: Advice) -> dict[str, Any]:
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
        "speed": _speed(one, advice),
        "asOf": one.machine.as_of.isoformat(),
        "source": one.machine.source,
    }

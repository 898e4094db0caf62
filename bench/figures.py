"""What each figure is, and the bounds that a run of the bench is held to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RANGES = Path(__file__).with_name("ranges.yaml")
# How far from the mean of the runs that the ranges were made of a figure may be.
MARGIN = 0.2


@dataclass(frozen=True, slots=True)
class Figure:
    unit: str
    # Is more of it better?
    more: bool = False
    # Does it depend on how fast the machine is? Bounds of such are for the machine that they were made on.
    timed: bool = True


COUNT = Figure("", timed=False)
SECONDS = Figure("s")
# Of every workload but the one whose API server is in trouble.
FIGURES = {
    "one job to its last pod, p50": SECONDS,
    "one job to its last pod, p99": SECONDS,
    "writes a job": COUNT,
    "POST a job": COUNT,
    "PATCH a job": COUNT,
    "DELETE a job": COUNT,
    "reads a job": COUNT,
    "writes a job, whole cluster": COUNT,
    "all pods": SECONDS,
    "pods a second": Figure("/s", more=True),
    "all jobs run": SECONDS,
    "CPU a pod": Figure("ms"),
    "CPU a pod, API server": Figure("ms"),
    "reconciles a start": Figure(""),
    "PATCH a start": Figure(""),
    "CPU a report": Figure("ms"),
    "start to status, p50": SECONDS,
    "start to status, p99": SECONDS,
    "memory at rest": Figure("MiB", timed=False),
    "memory": Figure("MiB", timed=False),
    "memory a job": Figure("KiB", timed=False),
    "CPU at rest": Figure("cores"),
    "writes a second at rest": Figure("/s", timed=False),
    "lost worker replaced, p50": SECONDS,
    "lost worker replaced, p99": SECONDS,
    "lost worker replaced in a crowd, p50": SECONDS,
    "restart to an empty queue": SECONDS,
    "writes after a restart": COUNT,
    "fail-over to an empty queue": SECONDS,
    "writes after a fail-over": COUNT,
    "storm: every gang whole": SECONDS,
    "storm: writes a lost pod": COUNT,
    "pods lost or doubled": COUNT,
    "pods a second, bare client": Figure("/s", more=True),
    "of the bare client's rate": Figure("", more=True, timed=False),
    "open files": COUNT,
}
# Of jobs that stay.
MORE_FIGURES = {"memory after a fail-over": Figure("MiB", timed=False)}
TROUBLES = ("undisturbed", "slow", "throttled", "API server restarted")
TROUBLE_FIGURES = {
    **{f"{trouble}: every gang runs": SECONDS for trouble in TROUBLES},
    **{f"{trouble}: pods lost or doubled": COUNT for trouble in (*TROUBLES, "cut off")},
    "throttled: refusals a job": Figure(""),
    "cut off: lost workers replaced": SECONDS,
    "cut off: the old leader ended": SECONDS,
}
ALL = FIGURES | MORE_FIGURES | TROUBLE_FIGURES


@dataclass(frozen=True, slots=True)
class Spread:
    mean: float
    deviation: float
    least: float
    most: float


def spreads(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Of every figure over the runs; the deviation is of the sample, 0 of one run."""
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = Spread(statistics.mean(values), deviation, min(values), max(values))
    return found


def ranges(found: Mapping[str, Spread]) -> dict[str, dict[str, float]]:
    """Bounds of each figure: its mean and a fifth more, or a fifth less where more is better."""
    return {
        name: {"least": _rounded(of.mean * (1 - MARGIN))}
        if ALL[name].more
        else {"most": _rounded(of.mean * (1 + MARGIN))}
        for name, of in found.items()
    }


def outside(found: Mapping[str, Spread], bounds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What lies outside of its bounds, in words; a figure that is missing too."""
    said = []
    for name, bound in bounds.items():
        if name not in found:
            said.append(f"{name}: was not measured")
            continue
        mean, unit = found[name].mean, ALL[name].unit
        if mean > bound.get("most", mean):
            said.append(f"{name}: {mean:.3g} {unit} is more than {bound['most']:.3g}".replace("  ", " "))
        if mean < bound.get("least", mean):
            said.append(f"{name}: {mean:.3g} {unit} is less than {bound['least']:.3g}".replace("  ", " "))
    return said


def read_ranges(workload: str) -> dict[str, dict[str, float]]:
    """Those of a workload; empty where there are none."""
    found: dict[str, Any] = yaml.safe_load(RANGES.read_text(encoding="utf-8")) if RANGES.exists() else {}
    return dict(found.get(workload) or {})


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")

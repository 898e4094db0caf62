"""Samples as the lines that Prometheus reads: prometheus_client's own writer takes four times as long (ADR 16)."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import NamedTuple

from paceline.controller.series.sample import Family


class Around(NamedTuple):
    """What stands before and after a job's own labels, for all jobs that have these values of a family's labels."""

    before: str
    after: str


def head(family: Family) -> str:
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"


def labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """``a="1",b="2"``, without braces."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


# All values but those of team and gate are a handful.
@lru_cache(maxsize=4096)
def around(family: Family, values: tuple[str, ...], suffix: str = "") -> Around:
    """``values``: of the family's labels; ``suffix``: which part of a histogram."""
    return Around(f"{family.name}{suffix}{{", f",{labels(family.labels, values)}}} " if values else "} ")


def line(around: Around, mine: str, value: float) -> str:
    """``mine``: the job's own labels, by ``labels``."""
    return f"{around.before}{mine}{around.after}{'+Inf' if value == inf else float(value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

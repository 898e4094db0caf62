"""Figures as pictures: every run a point, so that their spread is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What is drawn, panel by panel: its title and unit, and the figures by what they are called there.
PANELS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("pods a second", {"Paceline": "pods a second", "bare client": "pods a second, bare client"}),
    ("operator's memory (MiB)", {"at rest": "memory at rest", "all jobs run": "memory"}),
    (
        "back to an empty queue (s)",
        {"restart": "restart to an empty queue", "fail-over": "fail-over to an empty queue"},
    ),
    ("lost worker replaced (s)", {"median": "lost worker replaced, p50", "99 %": "lost worker replaced, p99"}),
)
# The same of the comparison with others: figures of bench/versus.py, of which all but the last span orders of magnitude.
VERSUS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("pods a second", {"all jobs at once": "pods a second"}),
    ("one job to its last pod (s)", {"median": "one job to its last pod, p50", "99 %": "one job to its last pod, p99"}),
    ("lost worker replaced (s)", {"median": "lost worker replaced, p50", "99 %": "lost worker replaced, p99"}),
    ("own memory (MiB)", {"at rest": "memory at rest", "all jobs run": "memory"}),
)


def draw(results: Sequence[Mapping[str, Any]], to: Path) -> None:
    """``results`` are what `run --json` wrote, in the order in which workloads are drawn; ``to`` is an SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    FigureCanvasSVG(figure)
    names = [f"{one['jobs']} × {one['pods']}" for one in results]
    for number, (title, shown) in enumerate(PANELS):
        axes = figure.add_subplot(1, len(PANELS), number + 1)
        for label, name in shown.items():
            points = [(at, run["figures"][name]) for at, one in enumerate(results) for run in one["runs"]]
            axes.plot(*zip(*points, strict=True), "o", label=label, alpha=0.7)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7)
    _save(figure, to)


def draw_versus(results: Mapping[str, Any], to: Path) -> None:
    """``results`` are what `versus --json` wrote; the first system measured is at the top."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(name for run in results["runs"] for name in run["systems"]))
    figure = Figure(figsize=(12, 0.9 + 0.28 * len(names)), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, len(VERSUS), sharey=True)
    for axes, (title, shown) in zip(panels, VERSUS, strict=True):
        for label, name in shown.items():
            points = [
                (system["figures"][name], names.index(of))
                for run in results["runs"]
                for of, system in run["systems"].items()
                if name in system["figures"]
            ]
            if points:
                axes.plot(*zip(*points, strict=True), "o", label=label, alpha=0.7)
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        if "memory" in title:
            axes.set_xlim(left=0)
        else:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())  # of less than a decade it would name every tick
        axes.grid(axis="x", alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    _save(figure, to)


def _save(figure: Any, to: Path) -> None:
    import matplotlib as mpl

    # Without a date or chance in the names of its parts, so that the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "bench"}):
        figure.savefig(to, format="svg", metadata={"Date": None})

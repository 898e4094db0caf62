"""`python -m tools.dashboards.draw ANSWERS FOLDER`: a picture of each dashboard, from what a Prometheus answered to its queries.

ANSWERS is the file that tests/e2e/test_prometheus.py leaves in PACELINE_ARTEFACTS. Not Grafana's own drawing: its grid, panels,
titles, units and thresholds, by matplotlib."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from tools.dashboards.reading import FOLDER, Json, load, panels
from tools.dashboards.units import words

mpl.use("Agg")

WIDTH, ROW = 15.0, 0.3  # inches: of the picture, and of a row of the grid
DPI = 90
GAP = 0.05
PAGE, INK, FAINT = "#f4f5f5", "#24292e", "#8e8e8e"
COLORS = {"blue": "#1f60c4", "green": "#37872d", "orange": "#e0752d", "red": "#c4162a"}
PALETTE = ["#56a64b", "#e0b400", "#3274d9", "#ff780a", "#e02f44", "#a352cc", "#0a8fa8", "#806eb7"]


@dataclass(frozen=True)
class Series:
    """One of a panel's: its letter, its legend, its labels and its points."""

    letter: str
    legend: str
    labels: dict[str, str]
    times: list[float]  # seconds since 1970
    values: list[float]

    @property
    def last(self) -> float:
        return self.values[-1]


def series(panel: Json, name: str, answers: dict[str, list[Json]]) -> list[Series]:
    found = []
    for target in panel["targets"]:
        for each in answers.get(f"{name} / {panel['title']} / {target['refId']}", []):
            points = each["values"] if "values" in each else [each["value"]]
            found.append(
                Series(
                    target["refId"],
                    legend(target.get("legendFormat", ""), each["metric"]),
                    each["metric"],
                    [float(at) for at, _ in points],
                    [float(value) for _, value in points],
                )
            )
    return found


def legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), pattern).strip()


def color_of(value: float, panel: Json) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLORS.get(reached[-1] if reached else "blue", INK)


def unit_of(panel: Json) -> str:
    unit: str = panel["fieldConfig"]["defaults"]["unit"]
    return unit


def draw_stat(axes: Axes, panel: Json, found: list[Series]) -> None:
    one = found[0]
    text = one.legend if panel["options"]["textMode"] == "name" else words(one.last, unit_of(panel))
    size = 24 if len(text) < 12 else 11
    axes.text(0.5, 0.42, text, ha="center", va="center", size=size, weight="bold", color=color_of(one.last, panel))
    axes.axis("off")


def draw_timeseries(axes: Axes, panel: Json, found: list[Series]) -> None:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    unit = unit_of(panel)
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    if custom.get("drawStyle") == "bars":
        draw_today(axes, found)
    elif stacked:
        times = sorted({at for each in found for at in each.times})
        rows = [[dict(zip(each.times, each.values, strict=True)).get(at, 0.0) for at in times] for each in found]
        axes.stackplot(times, rows, labels=[each.legend for each in found], colors=PALETTE, alpha=0.75, step="post")
    else:
        for number, each in enumerate(found):
            axes.plot(each.times, each.values, color=PALETTE[number % len(PALETTE)], label=each.legend, linewidth=1.4)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    if axes.get_ylim()[1] <= 0:
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value, unit)))
    axes.xaxis.set_major_locator(MultipleLocator(60 * max(1, round((axes.get_xlim()[1] - axes.get_xlim()[0]) / 300))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{datetime.fromtimestamp(at, UTC):%H:%M}"))
    axes.tick_params(labelsize=7, length=0, colors=FAINT)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.13),
        ncols=4,
        fontsize=7,
        frameon=False,
        handlelength=1,
        columnspacing=1,
        borderaxespad=0,
    )


def draw_today(axes: Axes, found: list[Series]) -> None:
    """The last of bars of a day each, which is all that a run of minutes has."""
    below = 0.0
    for number, each in enumerate(found):
        color = PALETTE[number % len(PALETTE)]
        axes.bar(each.times[-1], each.last, 60, bottom=below, color=color, alpha=0.75, label=each.legend)
        below += each.last
    axes.set_xlim(found[0].times[-1] - 600, found[0].times[-1] + 600)


def draw_bargauge(axes: Axes, panel: Json, found: list[Series]) -> None:
    unit, most = unit_of(panel), max([each.last for each in found] + [1e-12])
    for number, each in enumerate(found):
        at = -number
        axes.barh(at, most, height=0.62, color="#eceff2")
        axes.barh(at, each.last, height=0.62, color=color_of(each.last, panel), alpha=0.85)
        axes.text(-0.03 * most, at, each.legend, ha="right", va="center", size=8, color=INK)
        text = words(each.last, unit)
        axes.text(
            1.02 * most, at, text, ha="left", va="center", size=8, weight="bold", color=color_of(each.last, panel)
        )
    axes.set_xlim(-0.62 * most, 1.4 * most)
    axes.set_ylim(-max(len(found), 4) + 0.4, 0.6)
    axes.axis("off")


def draw_table(axes: Axes, panel: Json, found: list[Series]) -> None:
    organize = next(t["options"] for t in panel["transformations"] if t["id"] == "organize")
    names = organize["renameByName"]
    letters = [target["refId"] for target in panel["targets"]]
    headings = [names["Value" if len(letters) == 1 else f"Value #{letter}"] for letter in letters]
    order_of = organize["indexByName"]
    labels = sorted((name for name in order_of if not name.startswith("Value")), key=lambda name: order_of[name])
    units = {
        each["matcher"]["options"]: property_["value"]
        for each in panel["fieldConfig"]["overrides"]
        for property_ in each["properties"]
        if property_["id"] == "unit"
    }
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for each in found:
        rows.setdefault(tuple(each.labels.get(label, "") for label in labels), {})[each.letter] = each.last
    order = sorted(rows, key=lambda row: rows[row].get(letters[0], 0), reverse=True)
    columns = [*labels, *headings]
    step = 1 / len(columns)
    lines = max(len(rows), 5) + 1

    def write(line: int, column: int, text: str, **style: Any) -> None:
        right = column >= len(labels)
        place = (column + (0.9 if right else 0.05)) * step
        axes.text(place, 1 - (line + 0.5) / lines, text, ha="right" if right else "left", va="center", size=8, **style)

    for column, heading in enumerate(columns):
        write(0, column, heading, color=COLORS["blue"], weight="bold")
    for line, row in enumerate(order, start=1):
        axes.axhline(1 - line / lines, color="#e4e7eb", linewidth=0.8)
        for column, label in enumerate(row):
            write(line, column, label, color=INK)
        for column, (letter, heading) in enumerate(zip(letters, headings, strict=True), start=len(labels)):
            value = rows[row].get(letter)
            write(line, column, "" if value is None else words(value, units.get(heading, "short")), color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.axis("off")


DRAWN: dict[str, Callable[[Axes, Json, list[Series]], None]] = {
    "stat": draw_stat,
    "timeseries": draw_timeseries,
    "bargauge": draw_bargauge,
    "table": draw_table,
}
# What is left free around a panel's drawing, in inches: left, right, below, above.
MARGINS = {
    "stat": (0.05, 0.05, 0.05, 0.3),
    "timeseries": (0.62, 0.15, 0.55, 0.35),
    "bargauge": (0.1, 0.1, 0.1, 0.35),
    "table": (0.1, 0.1, 0.1, 0.32),
}


def draw(name: str, board: Json, answers: dict[str, list[Json]]) -> Figure:
    head = 0.5
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"]) * ROW + head
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAGE)
    figure.text(0.012, 1 - 0.28 / height, board["title"], size=15, weight="bold", color=INK, va="center")

    def box(at: Json) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of a place in the grid, in inches."""
        wide, high = at["w"] * WIDTH / 24, at["h"] * ROW
        return at["x"] * WIDTH / 24 + GAP, height - head - at["y"] * ROW - high + GAP, wide - 2 * GAP, high - 2 * GAP

    for row in (p for p in board["panels"] if p["type"] == "row"):
        left, bottom, _, high = box(row["gridPos"])
        figure.text(
            (left + 0.1) / WIDTH,
            (bottom + high / 2) / height,
            row["title"],
            size=10,
            weight="bold",
            color=INK,
            va="center",
        )
    for panel in panels(board):
        left, bottom, wide, high = box(panel["gridPos"])
        figure.add_artist(
            FancyBboxPatch(
                (left / WIDTH, bottom / height),
                wide / WIDTH,
                high / height,
                boxstyle="square,pad=0",
                facecolor="white",
                edgecolor="#dfe2e6",
                linewidth=0.8,
                transform=figure.transFigure,
                zorder=-1,
            )
        )
        figure.text(
            (left + 0.1) / WIDTH,
            (bottom + high - 0.17) / height,
            panel["title"],
            size=9,
            color=INK,
            va="center",
        )
        before, after, below, above = MARGINS[panel["type"]]
        place = (
            (left + before) / WIDTH,
            (bottom + below) / height,
            (wide - before - after) / WIDTH,
            (high - below - above) / height,
        )
        axes = figure.add_axes(place, facecolor="white")
        found = series(panel, name, answers)
        if found:
            DRAWN[panel["type"]](axes, panel, found)
        else:
            axes.text(0.5, 0.5, "no data", ha="center", va="center", size=9, color=FAINT, transform=axes.transAxes)
            axes.axis("off")
    return figure


def save(figure: Figure, path: Path) -> None:
    """As a PNG of 256 colors, which is a third of the size; by largest coverage, which leaves thin lines their colors."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", facecolor=PAGE)
    few = Image.open(raw).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main(source: Path, folder: Path) -> None:
    answers = json.loads(source.read_text(encoding="utf-8"))["answers"]
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(FOLDER.glob("*.json")):
        save(draw(file.stem, load(file), answers), folder / f"dashboard-{file.stem}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

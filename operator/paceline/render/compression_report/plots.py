"""Plots as inline SVG: bars and dots by stage, and the Pareto front of the trials. Colours are the page's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, NAME, TEXT, ROW = 380, 96, 96, 24
PLOT = WIDTH - NAME - TEXT
HIGH = 230
# Characters that fit beside a bar.
LETTERS = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """One of a plot's rows. ``value`` None: unknown. ``low`` to ``high``: its spread or error; ``ticks``: further values."""

    name: str
    value: float | None
    words: str
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] = ()
    taken: bool = False

    def values(self) -> list[float]:
        return [each for each in (self.value, self.low, self.high, *self.ticks) if each is not None]


@dataclass(frozen=True, slots=True)
class Point:
    """One trial, or the source."""

    name: str
    x: float
    y: float
    words: str
    kind: str  # class: trial, missed, taken, source


def by_stage(title: str, marks: Sequence[Mark], *, bars: bool) -> str:
    """``bars`` begin at 0; dots on an axis from the smallest to the largest value, whose ends are written below it. Empty where
    nothing is known."""
    known = [value for mark in marks for value in mark.values()]
    if not known:
        return ""
    low, high = (0.0, max(known)) if bars else (min(known), max(known))
    if high <= low:
        low, high = (0.0, 1.0) if bars else (low - 0.5, high + 0.5)

    def at(value: float) -> float:
        return NAME + PLOT * (value - low) / (high - low)

    parts = []
    for line, mark in enumerate(marks):
        middle = ROW * line + ROW / 2
        css = "bar taken" if mark.taken else "bar"
        drawn = [_text(NAME - 6, middle + 4, _short(mark.name), "end")]
        if mark.value is not None:
            if bars:
                drawn.append(
                    f'<rect class="{css}" x="{NAME}" y="{middle - 7:.0f}" width="{at(mark.value) - NAME:.1f}" height="14"/>'
                )
            else:
                drawn.append(f'<circle class="{css}" cx="{at(mark.value):.1f}" cy="{middle:.0f}" r="5"/>')
        if mark.low is not None and mark.high is not None:
            drawn.append(_line(at(max(mark.low, low)), middle, at(mark.high), middle, "whisker"))
        drawn += [_line(at(tick), middle - 7, at(tick), middle + 7, "tick") for tick in mark.ticks]
        drawn.append(_text(WIDTH - TEXT + 6, middle + 4, mark.words, "start"))
        parts.append(f"<g><title>{escape(f'{mark.name}: {mark.words}')}</title>{''.join(drawn)}</g>")
    bottom = ROW * len(marks)
    if not bars:
        parts.append(_text(NAME, bottom + 14, f"{low:.4g}", "start"))
        parts.append(_text(NAME + PLOT, bottom + 14, f"{high:.4g}", "end"))
    return _svg(title, bottom + (0 if bars else 20), parts)


def pareto(title: str, x_words: str, y_words: str, points: Sequence[Point], *, lower_is_better: bool) -> str:
    """Less is better on the x axis. The front joins those that no other one beats in both; the source is not part of it. Empty
    without points."""
    if not points:
        return ""
    left, right, top, bottom = 56, WIDTH - 14, 14, HIGH - 34
    xs, ys = [each.x for each in points], [each.y for each in points]

    def scale(value: float, values: list[float], start: float, end: float) -> float:
        low, high = min(values), max(values)
        share = 0.5 if high == low else (value - low) / (high - low)
        return start + (0.06 + 0.88 * share) * (end - start)

    placed = {id(each): (scale(each.x, xs, left, right), scale(each.y, ys, bottom, top)) for each in points}
    best = front([each for each in points if each.kind != "source"], lower_is_better=lower_is_better)
    parts = [_line(left, bottom, right, bottom, "axis"), _line(left, top, left, bottom, "axis")]
    if len(best) > 1:
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in (placed[id(each)] for each in best))
        parts.append(f'<polyline class="front" points="{route}"/>')
    for each in points:
        x, y = placed[id(each)]
        side, anchor = (-9, "end") if x > right - 60 else (9, "start")
        parts.append(
            f'<g><title>{escape(each.words)}</title><circle class="{each.kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
            f"{_text(x + side, y - 6, _short(each.name), anchor)}</g>"
        )
    parts += [
        _text(right, HIGH - 6, f"{x_words} (less is better)", "end"),
        _text(2, 10, f"{y_words} ({'less' if lower_is_better else 'more'} is better)", "start"),
        *(_text(left - 5, scale(y, ys, bottom, top) + 4, f"{y:.4g}", "end") for y in sorted({min(ys), max(ys)})),
        *(_text(scale(x, xs, left, right), bottom + 14, f"{x:.4g}", "middle") for x in sorted({min(xs), max(xs)})),
    ]
    return _svg(title, HIGH, parts)


def front(points: Iterable[Point], *, lower_is_better: bool) -> list[Point]:
    """Those that no other one beats, by x: each has a better y than all before it."""
    found: list[Point] = []
    sign = -1 if lower_is_better else 1
    for each in sorted(points, key=lambda p: (p.x, -sign * p.y)):
        if not found or sign * each.y > sign * found[-1].y:
            found.append(each)
    return found


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    drawn = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(words: str) -> str:
    return words if len(words) <= LETTERS else f"{words[: LETTERS - 1]}…"

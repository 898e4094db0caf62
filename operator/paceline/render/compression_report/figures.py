"""A status' figures in words. Decimal strings stay as they were written; what is absent is UNKNOWN."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

UNKNOWN = "unknown"
NONE = "-"

_LARGE = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_TIME = ((86400, "d"), (3600, "h"), (60, "min"))


class Cell(NamedTuple):
    """``exact``: the figure as the status has it, where ``text`` is rounded."""

    text: str
    exact: str = ""
    mood: Literal["", "good", "bad", "unknown"] = ""


def number(text: str | None) -> Decimal | None:
    """Of a decimal string; None where it is none."""
    try:
        found = None if text is None else Decimal(text)
    except InvalidOperation:
        return None
    return found if found is None or found.is_finite() else None


def size(count: int | None) -> Cell:
    """Bytes, by thousands: 91.0 MB."""
    return _scaled(count, "B", "bytes")


def amount(count: int | None) -> Cell:
    """Parameters, multiply-accumulates: 22.7 M."""
    return _scaled(count, "", "")


def figure(text: str | None, unit: str = "") -> Cell:
    return unknown() if text is None else Cell(f"{text} {unit}".rstrip())


def usd(text: str | None) -> Cell:
    return unknown() if text is None else Cell(f"${text}")


def ratio(text: str | None) -> Cell:
    return unknown() if text is None else Cell(f"{text}:1")


def plain(text: str) -> Cell:
    """Of a field that is empty where there is nothing to say."""
    return Cell(text or NONE)


def duration(seconds: int | None) -> Cell:
    """The two largest units: 1 h 5 min."""
    if seconds is None:
        return unknown()
    for one, (many, name) in enumerate(_TIME):
        if seconds >= many:
            smaller, small = _TIME[one + 1] if one + 1 < len(_TIME) else (1, "s")
            rest = seconds % many // smaller
            return Cell(f"{seconds // many} {name}" + (f" {rest} {small}" if rest else ""), f"{seconds} s")
    return Cell(f"{seconds} s")


def unknown(why: str = "") -> Cell:
    return Cell(f"{UNKNOWN}: {why}" if why else UNKNOWN, mood="unknown")


def _scaled(count: int | None, unit: str, word: str) -> Cell:
    if count is None:
        return unknown()
    for many, prefix in _LARGE:
        if count >= many:
            digits = 2 if count < 10 * many else 1 if count < 100 * many else 0
            return Cell(f"{count / many:.{digits}f} {prefix}{unit}", f"{count} {word}".rstrip())
    return Cell(f"{count} {unit}".rstrip())

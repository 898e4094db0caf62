"""Figures in a program's own words: what can be counted with, and has room in a status."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

# No metric, epoch or loss that anybody trains for is larger, or smaller and not 0; sums of others overflow.
LARGEST, SMALLEST = Decimal("1e15"), Decimal("1e-9")
DIGITS = Decimal("1e-9")


def sensible(text: str | None) -> Decimal | None:
    """The number, to nine decimals; None where it is none, or beyond all bounds. What is next to nothing is 0."""
    try:
        found = Decimal(text) if text is not None else None
    except InvalidOperation:
        return None
    if found is None or not found.is_finite() or abs(found) > LARGEST:
        return None
    return Decimal(0) if abs(found) < SMALLEST else found.quantize(DIGITS).normalize()

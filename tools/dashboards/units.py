"""Values in words, roughly as Grafana writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LARGE = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_BINARY = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_TIME = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def words(value: float, unit: str) -> str:
    """``unit``: one of Grafana's that tools/dashboards/panels.py names."""
    if math.isnan(value) or math.isinf(value):
        return "none"
    if unit == "percentunit":
        return f"{_digits(100 * value)} %"
    if unit == "s":
        return _scaled(value, _TIME, " ") if value else "0 s"
    if unit == "bytes":
        return _scaled(value, _BINARY, " ")
    if unit == "currencyUSD":
        cents = 0.1 <= abs(value) < 1000 or value == 0
        text = f"{abs(value):.2f}" if cents else _scaled(abs(value), _LARGE, " ")
        return f"-${text}" if value < 0 else f"${text}"
    return _scaled(value, _LARGE, " ") + ("/s" if unit == "cps" else "")


def _scaled(value: float, steps: Sequence[tuple[float, str]], gap: str) -> str:
    for size, name in steps:
        if abs(value) >= size:
            return f"{_digits(value / size)}{gap}{name}"
    return _digits(value)


def _digits(value: float) -> str:
    """Three digits that count, and no zeros behind the point."""
    if value == 0:
        return "0"
    behind = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(behind, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

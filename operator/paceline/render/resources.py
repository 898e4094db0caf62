"""Kubernetes quantities, as far as a default needs them."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIX: dict[str, int | Decimal] = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "m": Decimal("0.001"),
}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_QUANTITY = re.compile(r"^([0-9.]+(?:[eE][+-]?[0-9]+)?)([KMGTP]i|[kMGTPm]?)$")


def amount(quantity: str | int) -> int | None:
    """Bytes (or units) of a quantity, rounded down; None where it is none."""
    found = _QUANTITY.match(str(quantity))
    if found is None:
        return None
    factor = {**_SUFFIX, **_BINARY}[found[2]]
    return int(Decimal(found[1]) * factor)

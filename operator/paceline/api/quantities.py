"""Kubernetes quantities: "500m", "64Gi", 8."""

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
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}
_QUANTITY = re.compile(r"^([0-9.]+(?:[eE][+-]?[0-9]+)?)([KMGTP]i|[kMGTPm]?)$")


def exact(quantity: str | int) -> Decimal | None:
    """Bytes, cores or units of a quantity; None where it is none."""
    found = _QUANTITY.match(str(quantity))
    return None if found is None else Decimal(found[1]) * _SUFFIX[found[2]]


def amount(quantity: str | int) -> int | None:
    """As ``exact``, rounded down."""
    found = exact(quantity)
    return None if found is None else int(found)

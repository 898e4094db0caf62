"""CEL validations (``x-kubernetes-validations``): the rules that a schema cannot say, and the words users see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def cel(rule: str, message: str, **more: str) -> dict[str, str]:
    return {"rule": rule, "message": message, **more}


def rules(*validations: dict[str, str], **more: Any) -> Any:
    """Schema extras: CEL validations and any other ``x-kubernetes-`` key."""
    return {"x-kubernetes-validations": list(validations), **more}


def exactly_one(of: str, fields: Sequence[str]) -> dict[str, str]:
    given = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return cel(f"{given} == 1", f"{of} needs exactly one of {', '.join(fields)}")


def unchanged(path: str) -> dict[str, str]:
    """A field (``checkpoint.uri``: optional on the way) that only a suspended job may change.

    Written with has() and not with optional types, whose comparisons the API server estimates beyond its cost limit.
    """
    names = path.split(".")
    given = " && ".join(f"has(self.{'.'.join(names[: i + 1])})" for i in range(len(names)))
    before = given.replace("self.", "oldSelf.")
    same = f"({given}) == ({before}) && (!({given}) || self.{path} == oldSelf.{path})"
    return cel(
        f"self.suspend || oldSelf.suspend || ({same})",
        f"{path} cannot change while the job runs; set suspend: true first, change it, then resume",
    )

"""Parameters of a recipe: a frozen dataclass whose fields carry description and bounds, and the JSON Schema made of it.

Combinations that cannot work are refused by both who read the schema (the operator) and parse(), in the same words. Imports
nothing heavy: the schemas are published without torch.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")
_JSON_TYPES: dict[type, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}


class More(enum.Enum):
    """In a Refusal: more than so many."""

    SOME = 0
    MANY = 1


class Text(enum.Enum):
    """In a Refusal: a text that is not empty."""

    GIVEN = 1


SOME, MANY, GIVEN = More.SOME, More.MANY, Text.GIVEN


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Values that cannot go together, and why: every named parameter is as ``when`` says (the value itself, SOME, MANY or
    GIVEN)."""

    when: Mapping[str, Any]
    because: str

    def applies(self, values: Mapping[str, Any]) -> bool:
        return all(_is_as(values[name], wanted) for name, wanted in self.when.items())

    def schema(self) -> dict[str, Any]:
        found = {name: _rule(wanted) for name, wanted in self.when.items()}
        return {"not": {"properties": found, "required": list(found)}, "description": self.because}


def _is_as(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, More):
        return bool(value > wanted.value)
    return value != "" if wanted is GIVEN else bool(value == wanted)


def _rule(wanted: Any) -> dict[str, Any]:
    if isinstance(wanted, More):
        return {"exclusiveMinimum": wanted.value}
    return {"minLength": 1} if wanted is GIVEN else {"const": wanted}


class ParamError(ValueError):
    """A parameter is unknown or out of bounds; the message names it and what is allowed."""


def param(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A dataclass field of a recipe's parameters."""
    bounds = {"minimum": minimum, "maximum": maximum, "enum": list(choices) if choices else None}
    extras = {key: value for key, value in bounds.items() if value is not None}
    return dataclasses.field(default=default, metadata={"description": description, **extras})


def again(base: type, name: str, default: Any, *, choices: tuple[Any, ...] | None = None) -> Any:
    """A base class's field with another default, and other ``choices`` in place of its bounds where there are any."""
    known = next(field for field in dataclasses.fields(base) if field.name == name).metadata
    if choices is not None:
        return param(default, known["description"], choices=choices)
    return dataclasses.field(default=default, metadata=known)


def schema(params: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a parameter class; its docstring's first line is the description. To be applied to
    parameters with the defaults filled in. The number of processes must be a multiple of ``processesAreMultipleOf``'s product."""
    hints = get_type_hints(params)
    properties = {
        field.name: {"type": _JSON_TYPES[hints[field.name]], **field.metadata, "default": field.default}
        for field in dataclasses.fields(params)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": (params.__doc__ or "").strip().splitlines()[0],
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "allOf": [refusal.schema() for refusal in getattr(params, "refusals", ())],
        "processesAreMultipleOf": list(getattr(params, "divided_by", ())),
    }


def parse(params: type[T], values: Mapping[str, Any]) -> T:
    """The parameters with these values over the defaults. Raises ParamError."""
    properties = schema(params)["properties"]
    for name, value in values.items():
        if name not in properties:
            raise ParamError(f"params.{name}: unknown; there are: {', '.join(sorted(properties))}")
        _check(name, value, properties[name])
    hints = get_type_hints(params)
    made = params(**{name: float(value) if hints[name] is float else value for name, value in values.items()})
    for refusal in getattr(params, "refusals", ()):
        if refusal.applies({name: getattr(made, name) for name in refusal.when}):
            raise ParamError(f"params.{next(iter(refusal.when))}: {refusal.because}")
    return made


def _check(name: str, value: Any, rule: Mapping[str, Any]) -> None:
    wanted = rule["type"]
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
    }[wanted]
    if not fits:
        raise ParamError(f"params.{name}: must be of type {wanted}, not {value!r}")
    if "minimum" in rule and value < rule["minimum"]:
        raise ParamError(f"params.{name}: must be at least {rule['minimum']}, not {value}")
    if "maximum" in rule and value > rule["maximum"]:
        raise ParamError(f"params.{name}: must be at most {rule['maximum']}, not {value}")
    if "enum" in rule and value not in rule["enum"]:
        raise ParamError(f"params.{name}: must be one of {', '.join(map(str, rule['enum']))}, not {value!r}")

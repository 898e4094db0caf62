"""Is a recipe one that the trainer has, with parameters that it takes? Against the schemas that the trainer publishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from paceline.api.spec import Recipe, TrainingJobSpec
from paceline.plan.sizes import sizes

# Recipe name -> JSON Schema of its params.
Catalogue = Mapping[str, Mapping[str, Any]]


def complaint(recipe: Recipe, catalogue: Catalogue) -> str | None:
    """What is wrong with a recipe, naming the field and what would be right; None where nothing is."""
    schema = catalogue.get(recipe.name)
    if schema is None:
        known = ", ".join(sorted(catalogue))
        return f"spec.recipe.name: there is no recipe {recipe.name!r}; there are: {known}"
    return violation(schema, recipe.params, "spec.recipe.params", recipe.name)


def violation(schema: Mapping[str, Any], given: Mapping[str, Any], field: str, of: str) -> str | None:
    """What is wrong with the parameters in ``field``, which are of a recipe or method; None where nothing is."""
    params = {name: rule["default"] for name, rule in schema["properties"].items()} | dict(given)
    error = next(iter(sorted(Draft202012Validator(schema).iter_errors(params), key=str)), None)
    if error is None:
        return None
    if error.validator == "not":  # a combination that cannot work, which says itself why
        names = error.validator_value["required"]
        values = ", ".join(f"{name}: {params[name]}" for name in names)
        return f"{field}.{names[0]}: {error.schema['description']} ({values})"
    where = ".".join([field, *map(str, error.absolute_path)])
    known = ", ".join(sorted(schema.get("properties", {})))
    cure = f" ({of} takes: {known})" if error.validator == "additionalProperties" else ""
    return f"{where}: {error.message}{cure}"


def undivided(spec: TrainingJobSpec, catalogue: Catalogue) -> str | None:
    """What is wrong with the number of processes, where it is known and the recipe divides it; None where nothing is."""
    if spec.recipe is None or not isinstance(spec.processes_per_node, int):
        return None
    schema = catalogue[spec.recipe.name]
    names = schema["processesAreMultipleOf"]
    parts = {name: spec.recipe.params.get(name, schema["properties"][name]["default"]) for name in names}
    product = math.prod(parts.values())
    for size in sizes(spec).allowed:
        if size * spec.processes_per_node % product:
            asked = " × ".join(f"{name} {value}" for name, value in parts.items())
            return (
                f"spec.recipe.params: {size} nodes × {spec.processes_per_node} processes cannot be divided into {asked}: "
                f"every allowed size must give a multiple of {product} processes"
            )
    return None

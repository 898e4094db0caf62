"""Is a recipe one that the trainer has, with parameters that it takes? Against the schemas that the trainer publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from paceline.api.spec import Recipe

# Recipe name -> JSON Schema of its params.
Catalogue = Mapping[str, Mapping[str, Any]]


def complaint(recipe: Recipe, catalogue: Catalogue) -> str | None:
    """What is wrong with a recipe, naming the field and what would be right; None where nothing is."""
    schema = catalogue.get(recipe.name)
    if schema is None:
        known = ", ".join(sorted(catalogue))
        return f"spec.recipe.name: there is no recipe {recipe.name!r}; there are: {known}"
    error = next(iter(sorted(Draft202012Validator(schema).iter_errors(recipe.params), key=str)), None)
    if error is None:
        return None
    where = ".".join(["spec.recipe.params", *map(str, error.absolute_path)])
    known = ", ".join(sorted(schema.get("properties", {})))
    cure = f" ({recipe.name} takes: {known})" if error.validator == "additionalProperties" else ""
    return f"{where}: {error.message}{cure}"

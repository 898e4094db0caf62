"""Stages that the schema of the CRD cannot judge: parameters against what recipe and methods publish."""

from __future__ import annotations

from paceline.plan.compression.origin import Origin
from paceline.plan.compression.pipeline import Pipeline
from paceline.plan.compression.seen import Seen
from paceline.plan.recipes import violation


def complaint(pipeline: Pipeline, origin: Origin, seen: Seen) -> str | None:
    """What is wrong, naming the stage and what would be right; None where nothing is."""
    recipe = seen.recipes.get(origin.recipe.name)
    if recipe is None:
        return f"the source's recipe {origin.recipe.name!r} is not known; there are: {', '.join(sorted(seen.recipes))}"
    if "teacher" not in recipe["properties"]:
        able = sorted(name for name, schema in seen.recipes.items() if "teacher" in schema["properties"])
        return f"the recipe {origin.recipe.name} cannot be compressed; those that can: {', '.join(able)}"
    by_name = {stage.name: stage for stage in pipeline.stages}
    for step in pipeline.steps:
        stage = by_name.get(step.stage)
        if stage is None:
            continue
        field = f"spec.stages[{stage.name}].params"
        if step.params is not None:
            wrong = violation(recipe, step.params, field, origin.recipe.name)
        else:
            assert step.request is not None
            schema = seen.methods.get(step.request["method"])
            wrong = violation(schema, step.request["params"], field, stage.method) if schema else None
        if wrong:
            return wrong
    return None

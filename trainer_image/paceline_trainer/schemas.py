"""Prints every recipe's parameter schema as one JSON document: what the operator checks `recipe.params` against.

python -m paceline_trainer.schemas
"""

from __future__ import annotations

import json
from typing import Any

from paceline_trainer.params import schema
from paceline_trainer.recipes import PARAMS


def all_schemas() -> dict[str, dict[str, Any]]:
    return {name: schema(params) for name, params in sorted(PARAMS.items())}


if __name__ == "__main__":
    print(json.dumps(all_schemas(), indent=2))

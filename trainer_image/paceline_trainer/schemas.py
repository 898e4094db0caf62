"""Prints parameter schemas as one JSON document: every recipe's, what the operator checks `recipe.params` against, or with
--methods every compression method's.

python -m paceline_trainer.schemas [--methods]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from paceline_trainer.compress.methods import methods_schemas
from paceline_trainer.params import schema
from paceline_trainer.recipes import PARAMS


def all_schemas() -> dict[str, dict[str, Any]]:
    return {name: schema(params) for name, params in sorted(PARAMS.items())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="paceline_trainer.schemas", description="Print parameter schemas as JSON.")
    parser.add_argument("--methods", action="store_true", help="of the compression methods, instead of the recipes")
    print(json.dumps(methods_schemas() if parser.parse_args().methods else all_schemas(), indent=2))


if __name__ == "__main__":
    main()

"""Runs a recipe.

python -m paceline_trainer.run --list
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe image-classification --params '{"epochs": 6}'
torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
  -m paceline_trainer.run --recipe image-classification
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

from paceline_trainer import recipes
from paceline_trainer.params import ParamError, parse, schema
from paceline_trainer.termination import Termination


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="paceline_trainer.run", description="Run a training recipe, alone or under torchrun."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", metavar="NAME", help="the recipe to run")
    what.add_argument("--list", action="store_true", help="list the recipes and their parameters")
    what.add_argument("--schema", metavar="NAME", help="print the JSON Schema of a recipe's parameters")
    parser.add_argument("--params", default="{}", metavar="JSON", help="its parameters as a JSON object")
    default = os.environ.get("PACELINE_OUTPUT_DIR", "output")
    parser.add_argument(
        "--output", default=default, type=Path, help="folder of the model (default: $PACELINE_OUTPUT_DIR or output)"
    )
    return parser.parse_args(argv)


def takes(recipe: str) -> type[recipes.Training]:
    """The class of a recipe's parameters. Raises ParamError."""
    if recipe not in recipes.PARAMS:
        raise ParamError(f"recipe {recipe!r}: unknown; there are: {', '.join(sorted(recipes.PARAMS))}")
    return recipes.PARAMS[recipe]


def chosen(args: argparse.Namespace) -> recipes.Training:
    """The recipe's parameters. Raises ParamError."""
    params = takes(args.recipe)
    try:
        values = json.loads(args.params)
    except ValueError as error:
        raise ParamError(f"--params is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ParamError("--params must be a JSON object")
    return parse(params, values)


def main() -> None:
    args = arguments(sys.argv[1:])
    if args.list:
        for name, params_class in sorted(recipes.PARAMS.items()):
            described = schema(params_class)
            print(f"{name}: {described['description']}")
            for param, rule in described["properties"].items():
                print(f"  {param:16} {rule['description']} (default {rule['default']})")
        return
    try:
        if args.schema:
            print(json.dumps(schema(takes(args.schema)), indent=2))
            return
        params = chosen(args)
    except ParamError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # torch's profiler, which looks at a few steps of every run, would tell of each start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    termination = Termination()
    termination.install()
    from torch.distributed.elastic.multiprocessing.errors import record  # torch is slow to import: not for --list

    from paceline_trainer.job import run

    code = 0
    try:
        record(run)(args.recipe, params, args.output, termination)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by returning: after a failure that would wait for the threads of a save whose peers are gone, and gloo's threads may
    # abort a process whose interpreter is being taken down (github.com/pytorch/pytorch/pull/179291).
    os._exit(code)


if __name__ == "__main__":
    main()

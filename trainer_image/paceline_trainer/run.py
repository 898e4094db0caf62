"""Runs a recipe.

python -m paceline_trainer.run --list
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe image-classification --params '{"epochs": 6}'
torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
  -m paceline_trainer.run --recipe image-classification
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from paceline_trainer import recipes
from paceline_trainer.params import ParamError, parse, schema

if TYPE_CHECKING:
    from paceline_trainer.loop import Trained
    from paceline_trainer.task import Evaluation


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
    signal.signal(signal.SIGTERM, _terminated)
    from torch.distributed.elastic.multiprocessing.errors import record  # torch is slow to import: not for --list

    record(_train)(args.recipe, params, args.output)


def _terminated(signum: int, frame: FrameType | None) -> None:
    # Not print(): the signal may have come in the middle of one, which cannot be entered twice.
    os.write(1, b"terminated by SIGTERM: ending without a model\n")
    os._exit(128 + signum)  # a collective of the other processes would keep an orderly exit waiting


def _train(name: str, params: recipes.Training, output: Path) -> None:
    import torch

    from paceline_trainer.distributed import world as open_world
    from paceline_trainer.loop import Trained, evaluate, total_steps, train
    from paceline_trainer.progress import Reporter, payload

    torch.manual_seed(params.seed)
    if params.deterministic:
        # cuBLAS is deterministic with a workspace of fixed size only, and torch refuses to go on without this variable.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    with open_world() as world:
        task = recipes.load(name)(params)
        data, held_out = task.splits()
        result = Trained(task.model())
        reporter = Reporter(os.environ if world.main else {})
        if world.main:
            print(f"recipe={name} params={json.dumps(dataclasses.asdict(params))}", flush=True)
            print(
                f"world={world.size} backend={world.backend} device={world.device.type} train={len(data)} eval={len(held_out)}",
                flush=True,
            )
        figures: dict[str, Any] = {"current_step": 0, "total_steps": total_steps(len(data), params)}
        reporter.report(payload(percent=0, eta_seconds=None, metrics=figures))
        printed = 0.0
        for step in train(task, data, params, world, result):
            figures = step.figures()
            # 100 % is the final report's to say: evaluation and saving come first.
            percent = min(99.0, 100 * step.number / step.total)
            reporter.report(payload(percent=percent, eta_seconds=step.eta_seconds, metrics=figures))
            # About 20 lines a run, the first step's among them, and in a long run never more than 10 s in silence.
            milestone = step.number in (1, step.total) or step.number % max(1, step.total // 20) == 0
            if world.main and (milestone or result.seconds > printed + 10):
                printed = result.seconds
                print(step, flush=True)
        evaluation = evaluate(task, result.model, held_out, world)
        if world.main:
            model = _save(name, params, output, task.dataset, world.size, result, evaluation)
            finals = figures | {f"eval_{key}": value for key, value in evaluation.metrics.items()}
            reporter.close(payload(percent=100, eta_seconds=0, metrics=finals, model=model))


def _save(
    name: str,
    params: recipes.Training,
    output: Path,
    dataset: str,
    world_size: int,
    result: Trained,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """Writes and prints what came of it; the model as the final progress report says it."""
    from paceline_trainer import artifact

    per_epoch = len(result.losses) // params.epochs
    by_epoch = [sum(result.losses[i : i + per_epoch]) / per_epoch for i in range(0, len(result.losses), per_epoch)]
    facts = {
        "recipe": name,
        "params": dataclasses.asdict(params),
        "dataset": dataset,
        "world_size": world_size,
        "seconds": round(result.seconds, 3),
        "metrics": evaluation.metrics,
    }
    report = {
        "evaluation": evaluation.metrics,
        "loss_by_epoch": by_epoch,
        "losses": result.losses,
        **evaluation.details,
    }
    manifest = artifact.save(output, result.model, facts, report)
    print(artifact.summary(evaluation), flush=True)
    print(f"model: {output / artifact.WEIGHTS} (sha256 {manifest['sha256']})", flush=True)
    return {
        "path": str(output.absolute()),
        "format": "safetensors",
        "sha256": manifest["sha256"],
        "metrics": evaluation.metrics,
    }


if __name__ == "__main__":
    main()

"""A job in one process: cross-validation where it is asked for, then the training whose model is kept."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import torch

from paceline_trainer import recipes
from paceline_trainer.cross_validation import DONE, cross_validate
from paceline_trainer.distributed import world as open_world
from paceline_trainer.progress import Reporter, payload
from paceline_trainer.session import Part, Run, Session
from paceline_trainer.termination import Termination
from paceline_trainer.usage import Usage
from paceline_trainer.watching.prometheus import serve


def run(name: str, params: recipes.Training, output: Path, termination: Termination) -> None:
    """Trains a recipe to its end, from the newest checkpoint where there is one, and saves the model in ``output``."""
    torch.manual_seed(params.seed)
    if params.deterministic:
        # cuBLAS is deterministic with a workspace of fixed size only, and torch refuses to go on without this variable.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    with open_world() as world:
        usage = Usage(world.device)
        serve(usage)
        reporter = Reporter(os.environ if world.main else {}, usage=usage.figures, restarts=world.restarts)
        reporter.report(payload(activity="loading", percent=0, eta_seconds=None, metrics={}))
        this = Run(name, params, output, world, termination, reporter, usage)
        this.say(f"recipe={name} params={json.dumps(dataclasses.asdict(params))}")
        task = recipes.load(name)(params)
        data, held_out = task.splits()
        folds = cross_validate(this, task, data)
        session = Session(this, task, data, held_out, Part(number=params.folds, of=params.folds + 1))
        try:
            session.train()
            session.finish(folds)
        finally:
            session.close()
        if world.main:
            (output / DONE).unlink(missing_ok=True)

"""Run by test_evaluation.py, alone and under torchrun: metrics of an untrained model on splits whose parts are uneven.

torchrun --nproc-per-node 3 evaluate_uneven.py OUTPUT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from paceline_trainer import recipes
from paceline_trainer.distributed import world as open_world
from paceline_trainer.evaluation.metrics import evaluation
from paceline_trainer.loop import begin, predict
from paceline_trainer.params import parse


def main() -> None:
    found = {}
    with open_world() as world:
        for recipe in ("image-classification", "linear-regression"):
            params = parse(recipes.PARAMS[recipe], {})
            torch.manual_seed(3)
            task = recipes.load(recipe)(params)
            spread = begin(task, params, world, 1).spread
            for count in (2, 50, 88):  # of three processes one has none; none is a multiple of three
                held_out = task.splits()[1][torch.arange(count)]
                predictions = predict(task, spread, held_out, world)
                if predictions is not None:
                    both = evaluation(predictions, task.classes)
                    assert predictions.indices.tolist() == list(range(count))
                    found[f"{recipe} {count}"] = {"metrics": both.metrics, "details": both.details}
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

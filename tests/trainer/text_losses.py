"""Run by test_tuning.py, alone and under torchrun: a few steps of every way to tune, in float64; writes losses and what is left.

torchrun --nproc-per-node 2 text_losses.py OUTPUT.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch

from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, total_steps, train
from paceline_trainer.recipes import TUNINGS, TopicClassification
from paceline_trainer.recipes.topic_classification import TopicClassificationTask
from paceline_trainer.task import Arrays

# Without dropout, whose draws depend on the number of processes; of two layers, which is a third of the time.
PARAMS = TopicClassification(epochs=2, batch_size=7, max_tokens=16, dropout=0.0, lr=1e-3, seed=3, lora_rank=2, layers=2)


class FewTexts(TopicClassificationTask):
    """Two dozen of them, of all classes."""

    def __init__(self, params: TopicClassification) -> None:
        super().__init__(params)
        some = torch.arange(0, len(self.texts), len(self.texts) // 24)[:24]
        texts = [self.texts.texts[int(i)] for i in some]
        self.texts = dataclasses.replace(self.texts, texts=texts, labels=self.texts.labels[some])


# Beside the ways to tune: attacked and augmented texts.
VARIANTS: dict[str, dict[str, Any]] = {
    **{tuning: {"tuning": tuning} for tuning in TUNINGS},
    "fgm": {"attack": "fgm"},
    "pgd, lora, accumulating": {"attack": "pgd", "attack_steps": 2, "tuning": "lora", "accumulate": 2},
    "augmented": {"replace": 0.2, "insert": 0.2, "swap": 0.2, "delete": 0.2},
}


def trained(variant: str, world: World) -> dict[str, list[float]]:
    params = dataclasses.replace(PARAMS, **VARIANTS[variant])
    torch.manual_seed(params.seed)
    task = FewTexts(params)
    data, _ = task.splits()
    inputs = data.inputs.double() if data.inputs.is_floating_point() else data.inputs
    data = Arrays(inputs, data.targets, data.lengths, data.origins)
    result = begin(task, params, world, total_steps(len(data), params), torch.float64)
    for _ in train(task, data, params, world, result):
        pass
    task.finish(result.spread.model)
    norm = float(sum((p.detach() ** 2).sum() for p in result.spread.model.parameters()))
    return {"losses": result.losses, "norm": [norm]}


def main() -> None:
    with open_world() as world:
        found = {variant: trained(variant, world) for variant in VARIANTS}
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

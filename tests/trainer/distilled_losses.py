"""Run by conftest.py, alone and under torchrun: a few steps with a teacher, with zeros that are kept, and with rounded layers.

torchrun --nproc-per-node 2 distilled_losses.py OUTPUT.json
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from models import images, leave
from text_losses import PARAMS, FewTexts

from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, total_steps, train
from paceline_trainer.recipes import ImageClassification, Training
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.task import Arrays, Task

STEPS = 4
IMAGES = ImageClassification(width=4, epochs=1, batch_size=41, seed=3, optimizer="sgd", lr=0.05)
LAYOUTS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {"parallel": "fsdp"},
    "pipeline": {"pipeline_stages": 2},
    "tensor": {"parallel": "fsdp", "tensor_parallel": 2},
}


def trained(task: Task, params: Training, world: World, dtype: torch.dtype) -> dict[str, Any]:
    data, _ = task.splits()
    data = task.training(data, world, lambda _: None)
    cache = hashlib.sha256(data.targets.numpy().tobytes()).hexdigest()
    inputs = data.inputs.to(dtype) if data.inputs.is_floating_point() else data.inputs
    data = Arrays(inputs, data.targets, data.lengths, data.origins)
    torch.manual_seed(params.seed)
    result = begin(task, params, world, total_steps(len(data), params), dtype)
    for _ in islice(train(task, data, params, world, result), STEPS):
        pass
    task.finish(result.spread.model)
    state = result.spread.full_state() or {}
    zeros = {name: int((value == 0).sum()) for name, value in state.items() if value.ndim > 1}
    return {"losses": result.losses, "cache": cache, "zeros": zeros, "names": sorted(state)}


def main() -> None:
    folder = Path(sys.argv[1]).parent
    with open_world() as world:
        if world.main:
            images(folder / "images", width=8, zeros=0.5)
            torch.manual_seed(1)
            leave(folder / "texts", "topic-classification", PARAMS, FewTexts(PARAMS).model())
            (folder / "more.txt").write_text("shares of a bank fell\n\na striker's two goals\n", encoding="utf-8")
        world.gather(None)
        taught = {"teacher": str(folder / "images"), "labelled": 0.2, "confidence": 0.33}
        zeros = {"start_from": str(folder / "images"), "keep_zeros": True}
        found = {}
        for name, layout in LAYOUTS.items():
            if world.size == 1 and name not in ("ddp", "fsdp"):
                continue
            for kind, more in {"taught": taught, "zeros": zeros}.items():
                params = dataclasses.replace(IMAGES, **more, **layout)
                found[f"{kind} {name}"] = trained(ImageClassificationTask(params), params, world, torch.float64)
            if name != "tensor":
                params = dataclasses.replace(IMAGES, quantization_aware="int4-weight", **layout)
                found[f"rounding {name}"] = trained(ImageClassificationTask(params), params, world, torch.float32)
        more = {"teacher": str(folder / "texts"), "unlabelled": str(folder / "more.txt"), "hidden": 0.5, "layers": 2}
        texts = dataclasses.replace(PARAMS, **more, labelled=0.5, confidence=0.3)
        found["texts"] = trained(FewTexts(texts), texts, world, torch.float64)
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How long training waits for a checkpoint: where it is written before the next step, and where it is written meanwhile.

torchrun --nproc-per-node 2 tests/trainer/checkpoint_cost.py [FOLDER]         # FOLDER: where to write; a URL of fsspec too
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import torch

from paceline_trainer import recipes
from paceline_trainer.checkpoint import Saver, Settings, State
from paceline_trainer.data import position
from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, train

STEPS, EVERY = 160, 10


def waits(world: World, folder: str, *, wait: bool) -> tuple[list[float], float, int]:
    """(seconds of each save, median seconds of a step, bytes of a checkpoint)."""
    params = recipes.ImageClassification(width=64, epochs=20, batch_size=64)
    torch.manual_seed(0)
    task = recipes.load("image-classification")(params)
    data, _ = task.splits()
    result = begin(task, params, world, STEPS)
    state = State(result.spread.model, result.optimizer, losses=result.losses)
    saver = Saver(Settings(folder, keep=1), world, {"wait": wait})
    saves, steps, last = [], [], time.monotonic()
    for step in train(task, data, params, world, result):
        now = time.monotonic()
        steps.append(now - last)
        if step.number % EVERY == 0:
            saver.save(state, position(step.number, len(data), params.batch_size), wait=wait)
            saves.append(time.monotonic() - now)
        last = time.monotonic()
        if step.number == STEPS:
            break
    saver.finish()
    return saves[1:], statistics.median(steps), saver.last.size if saver.last else 0


def main() -> None:
    with tempfile.TemporaryDirectory() as own, open_world() as world:
        box = [sys.argv[1] if len(sys.argv) > 1 else own]
        if world.size > 1:
            torch.distributed.broadcast_object_list(box)  # rank 0's folder
        for wait in (True, False):
            saves, step, size = waits(world, f"{box[0]}/{wait}", wait=wait)
            if world.main:
                how, median = "sync " if wait else "async", statistics.median(saves)
                print(
                    f"{how}: {size / 1e6:.1f} MB, training waits {1000 * median:.0f} ms, a step takes {1000 * step:.0f} ms"
                )


if __name__ == "__main__":
    main()

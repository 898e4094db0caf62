"""What the trainer's loop costs beside a bare PyTorch loop of the same model, data, order and optimizer, in one process.

python -m tests.trainer.loop_cost            # a table: time of a step and peak memory, the bare loop's being 1
python -m tests.trainer.loop_cost MODE       # one of bare, loop: peak memory of it alone, in KiB

Rounds of both are interleaved in one process, so that whatever else the machine does meets both; memory is of a process each.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

import torch

from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import begin, total_steps, train
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask

STEPS, WARM, ROUNDS = 120, 20, 9
# With profile the loop looks at no step by itself: what a look costs is said apart.
PARAMS = ImageClassification(epochs=10, profile=True)


def bare() -> list[float]:
    """Seconds of each step."""
    torch.manual_seed(0)
    task = ImageClassificationTask(PARAMS)
    data, _ = task.splits()
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PARAMS.lr, weight_decay=PARAMS.weight_decay)
    times: list[float] = []
    for epoch in range(PARAMS.epochs):
        for batch in global_batches(epoch_order(len(data), PARAMS.seed, epoch), PARAMS.batch_size):
            began = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss = task.losses(model(data.inputs[batch]), data.targets[batch]).mean()
            loss.backward()
            optimizer.step()
            loss.item()
            times.append(time.perf_counter() - began)
            if len(times) == STEPS:
                return times
    return times


def loop() -> list[float]:
    """Seconds of each step."""
    times: list[float] = []
    with open_world() as world:
        torch.manual_seed(0)
        task = ImageClassificationTask(PARAMS)
        data, _ = task.splits()
        steps = train(task, data, PARAMS, world, begin(task, PARAMS, world, total_steps(len(data), PARAMS)))
        for _ in range(STEPS):
            began = time.perf_counter()
            next(steps)
            times.append(time.perf_counter() - began)
    return times


MODES = {"bare": bare, "loop": loop}


def peak(mode: str) -> int:
    command = [sys.executable, "-m", "tests.trainer.loop_cost", mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    if sys.argv[1:]:
        MODES[sys.argv[1]]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    torch.set_num_threads(1)
    ratios, milliseconds = [], []
    for _ in range(ROUNDS):
        plain, ours = (statistics.median(run()[WARM:]) for run in (bare, loop))
        ratios.append(ours / plain)
        milliseconds.append(1000 * plain)
    memory = [peak("loop") / peak("bare") for _ in range(3)]
    print("| | beside a bare loop | range | rounds |")
    print("| --- | --- | --- | --- |")
    for name, values in (("time of a step", ratios), ("peak memory", memory)):
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f} | {len(values)} |")
    print(f"(a bare step takes {statistics.median(milliseconds):.1f} ms)")


if __name__ == "__main__":
    main()

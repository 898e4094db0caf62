"""Run by test_resume.py in place of `-m paceline_trainer.run`: the same, and every process writes down what it trains on.

A line for each step, before it is made: {"step": 12, "samples": [...]}; in front of them one that says since which step, and of
which group of processes. COUNT_DIR is where; STEP_SECONDS slows each step down, so that something can happen meanwhile;
STEP_SECONDS_ALONE those of a process without company.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from paceline_trainer import loop, run
from paceline_trainer.data import Position, position
from paceline_trainer.parallel.spread import Spread

PATH = Path(os.environ["COUNT_DIR"]) / f"{time.time_ns()}-{os.getpid()}.jsonl"


ALONE = os.environ.get("WORLD_SIZE", "1") == "1"
SECONDS = float((ALONE and os.environ.get("STEP_SECONDS_ALONE")) or os.environ.get("STEP_SECONDS", "0"))


class Counter:
    """Stands in for what tells the loop where it begins, and which samples a process has."""

    def __init__(self) -> None:
        self._step = 0

    def position(self, at: int, count: int, batch_size: int) -> Position:
        self._step = at
        group = f"{os.environ.get('PACELINE_ATTEMPT')} {os.environ.get('MASTER_PORT')}"
        self._write({"since": at, "group": group, "world": int(os.environ.get("WORLD_SIZE", "1"))})
        return position(at, count, batch_size)

    def part(self) -> Callable[[Spread, Tensor], Tensor]:
        asked = Spread.part

        def part(spread: Spread, batch: Tensor) -> Tensor:
            mine = asked(spread, batch)
            if batch.ndim == 2:  # samples with their partners, which are asked for once a step
                self._step += 1
                self._write({"step": self._step, "samples": mine[:, 0].tolist()})
                time.sleep(SECONDS)
            return mine

        return part

    @staticmethod
    def _write(line: object) -> None:
        with PATH.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    counter = Counter()
    if "OWN_FOLDERS" in os.environ:
        os.environ["PACELINE_CHECKPOINT_DIR"] += f"-of-rank-{os.environ['RANK']}"
    loop.position, Spread.part = counter.position, counter.part()
    run.main()

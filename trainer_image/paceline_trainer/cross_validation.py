"""Cross-validation before a run: trained once for each fold of the training split, on what the fold leaves, and judged on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from paceline_trainer.evaluation.folds import folds, summarised
from paceline_trainer.session import Part, Run, Session
from paceline_trainer.task import Arrays, Task

# Of the folds that are done, so that a run that is interrupted does not train them again.
DONE = "folds.json"


def cross_validate(run: Run, task: Task, data: Arrays) -> dict[str, Any] | None:
    """Mean, deviation and each fold's metrics, in rank 0 (else None). None, too, without ``params.folds``."""
    count = run.params.folds
    if not count:
        return None
    done = _Done(run)
    held_out = folds(data.targets, count, run.params.seed, stratified=bool(task.classes))
    for number in range(len(done.metrics), count):
        kept = torch.ones(len(data), dtype=torch.bool)
        kept[held_out[number]] = False
        part = Part(f"fold-{number + 1}", number, count + 1)
        session = Session(run, task, data[kept.nonzero().flatten()], data[held_out[number]], part)
        try:
            session.train()
            evaluation = session.evaluate()
        finally:
            session.close()
        done.add(evaluation.metrics if evaluation else {})
    return summarised(done.metrics) if run.world.main else None


class _Done:
    """The folds' metrics, in rank 0 and in a file; in other processes as many empty ones."""

    def __init__(self, run: Run) -> None:
        self._run, self._path = run, run.output / DONE
        self.metrics: list[dict[str, float]] = run.world.gather(self._read() if run.world.main else [])[0]

    def _read(self) -> list[dict[str, float]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return list(found["metrics"]) if found.get("of") == self._run.identity() else []

    def add(self, metrics: dict[str, float]) -> None:
        self.metrics.append(metrics)
        if not self._run.world.main:
            return
        self._run.output.mkdir(parents=True, exist_ok=True)
        partial: Path = self._path.with_name(f".{DONE}.partial")
        partial.write_text(json.dumps({"of": self._run.identity(), "metrics": self.metrics}), encoding="utf-8")
        partial.replace(self._path)

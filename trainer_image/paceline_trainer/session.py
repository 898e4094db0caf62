"""One run of a recipe in one process: loads, resumes, trains, saves, evaluates, and tells of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from paceline_trainer import recipes
from paceline_trainer.data import Position, batches_per_epoch, position
from paceline_trainer.distributed import World
from paceline_trainer.distributed import world as open_world
from paceline_trainer.loop import Step, Wishes, begin, evaluate, total_steps, train
from paceline_trainer.progress import Activity, Reporter, payload
from paceline_trainer.task import Evaluation, Task
from paceline_trainer.termination import PeerLeft, Termination, end
from paceline_trainer.watching.anomaly import Action, AnomalyError
from paceline_trainer.watching.watchers import Watchers

if TYPE_CHECKING:
    from paceline_trainer.checkpoint import Saver

# How long a process waits for its own SIGTERM after a peer's: agents are told at different moments.
OWN_SIGTERM_SECONDS = 5.0
LAST_REPORT_SECONDS = 3.0
# A run that goes wrong more often than this is not saved by going back once more.
ROLL_BACKS = 3
# Scalars are written this often at most: eight of them take a quarter of a millisecond.
WATCH_SECONDS = 0.5


def run(name: str, params: recipes.Training, output: Path, termination: Termination) -> None:
    """Trains a recipe to its end, from the newest checkpoint where there is one, and saves the model in ``output``."""
    torch.manual_seed(params.seed)
    if params.deterministic:
        # cuBLAS is deterministic with a workspace of fixed size only, and torch refuses to go on without this variable.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    with open_world() as world:
        session = Session(name, params, output, world, termination)
        session.resume()
        try:
            session.train()
            session.finish()
        finally:
            session.close()


class Session:
    """``figures`` are the metrics of the newest step."""

    def __init__(
        self, name: str, params: recipes.Training, output: Path, world: World, termination: Termination
    ) -> None:
        self._name, self._params, self._output, self._world, self._termination = (
            name,
            params,
            output,
            world,
            termination,
        )
        self._watchers = Watchers(self._say)
        self._watched = -math.inf
        self._reporter = Reporter(os.environ if world.main else {})
        self._figures: dict[str, Any] = {}
        self._eta: float | None = None
        self._saver: Saver | None = None
        self._report("loading")
        self._task: Task = recipes.load(name)(params)
        self._data, self._held_out = self._task.splits()
        self._total = total_steps(len(self._data), params)
        self._figures = {"current_step": 0, "total_steps": self._total}
        self._result = begin(self._task, params, world, self._total)
        self._say(f"recipe={name} params={json.dumps(dataclasses.asdict(params))}")
        sizes = f"train={len(self._data)} eval={len(self._held_out)}"
        self._say(f"world={world.size} backend={world.backend} device={world.device.type} {sizes}")

    def resume(self) -> None:
        """From the newest good checkpoint, where there is one."""
        self._load()
        self._watchers = Watchers.of_run(
            self._output,
            dataclasses.asdict(self._params),
            os.environ,
            main=self._world.main,
            resumed_step=len(self._result.losses),
            run_id=os.environ.get("PACELINE_JOB_UID"),
            say=self._say,
        )

    def close(self) -> None:
        """All that was seen is written."""
        self._watchers.close()

    def _load(self) -> None:
        if not os.environ.get("PACELINE_CHECKPOINT_DIR"):
            return
        from paceline_trainer.checkpoint import Saver, Settings  # 0.7 s of imports that others need not wait for

        settings = Settings.from_environ(os.environ)
        assert settings is not None
        self._saver = Saver(settings, self._world, self._identity())
        found = self._saver.resume(self._state())
        if found is None:
            self._say(f"no checkpoint in {self._saver.storage.url}: starting from nothing")
            return
        for group in self._result.optimizer.param_groups:  # it may be changed while a job is suspended, as the rate may
            group.update(weight_decay=self._params.weight_decay)
        at = found.position
        self._figures["current_step"] = at.step
        self._say(
            f"resumed from step {at.step} (attempt {found.attempt}, world size {found.world_size}): "
            f"epoch {at.epoch}, batch {at.batch}, {at.samples} samples trained on"
        )
        self._report("loading")

    def train(self) -> None:
        saves = self._saver is not None and os.environ.get("PACELINE_SAVE_ON_SIGTERM", "1") != "0"
        with self._termination.deferred() if saves else nullcontext():
            try:
                self._steps()
            except RuntimeError:
                if self._termination.requested:  # a collective that failed because peers have ended: so does this one
                    self._end("terminated by SIGTERM: peers are gone, ending without saving this step")
                raise

    def _steps(self) -> None:
        """To the end, going back to the newest checkpoint where a step went wrong and that was asked for."""
        left_out: set[int] = set()
        while True:
            try:
                return self._steps_until_an_anomaly(left_out)
            except AnomalyError as error:
                if error.anomaly.action is not Action.ROLL_BACK or len(left_out) == ROLL_BACKS or self._saver is None:
                    raise
                left_out.add(len(self._result.losses) + 1)  # its batch comes again, and would go wrong again
                self._saver.finish()
                if self._saver.resume(self._state()) is None:
                    raise
                self._say(f"{error}; rolled back to step {len(self._result.losses)}, and that step is left out")

    def _steps_until_an_anomaly(self, left_out: Collection[int]) -> None:
        printed = 0.0
        for step in train(self._task, self._data, self._params, self._world, self._result, self._wishes, left_out):
            if step.updated is not None and step.updated.anomaly is not None:
                self._say(f"{step.updated.anomaly.because}; its update is skipped")
            self._figures, self._eta = step.figures(), step.eta_seconds
            # About 20 lines a run, the first step's among them, and in a long run never more than 10 s in silence.
            milestone = step.number in (1, step.total) or step.number % max(1, step.total // 20) == 0
            if milestone or self._result.seconds > printed + 10:
                printed = self._result.seconds
                self._say(str(step))
            if milestone or self._result.seconds > self._watched + WATCH_SECONDS:
                self._watched = self._result.seconds
                self._watchers.scalars(step.number, "train", step.watched())
            if self._saver is not None:
                self._saver.poll()
                if step.wishes.stop:
                    self._stop(step)
                if step.wishes.save:
                    self._save()
            self._report("training")
        if self._saver is not None:
            self._save(wait=True)

    def _wishes(self, step: int) -> Wishes:
        """Of this process. The interval is rank 0's to watch: clocks and unfinished saves differ between processes."""
        due = self._saver is not None and self._world.main and self._saver.due(step)
        return Wishes(stop=self._termination.requested, save=due)

    def _save(self, *, wait: bool = False) -> None:
        assert self._saver is not None
        if wait:
            self._report("checkpointing")
        # Lower is better: the mean loss of the newest epoch's worth of steps.
        recent = self._result.losses[-batches_per_epoch(len(self._data), self._params.batch_size) :]
        self._saver.save(self._state(), self._position(), score=_mean(recent), wait=wait)

    def _position(self) -> Position:
        return position(len(self._result.losses), len(self._data), self._params.batch_size)

    def _stop(self, step: Step) -> None:
        """All processes are here, at the same step."""
        assert self._saver is not None
        self._save(wait=True)
        saved = f"step {step.number} is saved" if self._saver.saved_step == step.number else "saving FAILED"
        percent = min(99.0, 100 * step.number / step.total)
        self._reporter.close(
            self._body("checkpointing", percent=percent, eta_seconds=self._eta), seconds=LAST_REPORT_SECONDS
        )
        if self._termination.wait(OWN_SIGTERM_SECONDS):
            self._end(f"terminated by SIGTERM: {saved}")
        raise PeerLeft(f"a peer was told to stop; {saved}")

    def _end(self, why: str) -> NoReturn:
        self.close()
        end(why)

    def finish(self) -> None:
        """Evaluates and saves the model."""
        self._report("evaluating")
        evaluation = evaluate(self._task, self._result.spread, self._held_out, self._world)
        weights = self._result.spread.full_state()
        if weights is None:
            return
        model = self._save_model(weights, evaluation)
        self._watchers.scalars(len(self._result.losses), "eval", evaluation.metrics)
        self._figures |= {f"eval_{key}": value for key, value in evaluation.metrics.items()}
        self._reporter.close(self._body("evaluating", percent=100, eta_seconds=0, model=model))

    def _save_model(self, weights: dict[str, Tensor], evaluation: Evaluation) -> dict[str, Any]:
        """Writes and prints what came of it; the model as the final progress report says it."""
        from paceline_trainer import artifact

        losses, per_epoch = self._result.losses, batches_per_epoch(len(self._data), self._params.batch_size)
        facts = {
            "recipe": self._name,
            "params": dataclasses.asdict(self._params),
            "dataset": self._task.dataset,
            "world_size": self._world.size,
            "seconds": round(self._result.seconds, 3),
            "metrics": evaluation.metrics,
        }
        report = {
            "evaluation": evaluation.metrics,
            "loss_by_epoch": [_mean(losses[i : i + per_epoch]) for i in range(0, len(losses), per_epoch)],
            "losses": [loss if math.isfinite(loss) else None for loss in losses],  # JSON has no NaN
            **evaluation.details,
        }
        output = self._output
        manifest = artifact.save(output, weights, facts, report)
        self._say(artifact.summary(evaluation))
        self._say(f"model: {output / artifact.WEIGHTS} (sha256 {manifest['sha256']})")
        return {
            "path": str(output.absolute()),
            "format": "safetensors",
            "sha256": manifest["sha256"],
            "metrics": evaluation.metrics,
        }

    def _identity(self) -> dict[str, Any]:
        """A checkpoint of another is not resumed from."""
        params = dataclasses.asdict(self._params)
        fixed = {key: value for key, value in params.items() if key not in recipes.MAY_CHANGE}
        return {"recipe": self._name, "dataset": self._task.dataset, "samples": len(self._data), **fixed}

    def _state(self) -> Any:
        from paceline_trainer.checkpoint import State

        result = self._result
        return State(result.spread.model, result.optimizer, losses=result.losses, others={"update": result.update})

    def _say(self, words: str) -> None:
        if self._world.main:
            print(words, flush=True)

    def _report(self, activity: Activity) -> None:
        # 100 % is the final report's to say: evaluation and saving come first.
        share = len(self._result.losses) / self._total if self._figures else 0.0
        self._reporter.report(self._body(activity, percent=min(99.0, 100 * share), eta_seconds=self._eta))

    def _body(self, activity: Activity, **more: Any) -> dict[str, Any]:
        return payload(activity=activity, metrics=self._figures, checkpoint=self._checkpoint(), **more)

    def _checkpoint(self) -> dict[str, Any]:
        """For every report: those before it may not have been delivered."""
        saver = self._saver
        if saver is None:
            return {}
        facts: dict[str, Any] = {}
        if saver.last is not None:
            facts |= {
                "step": saver.last.position.step,
                "time": saver.last.time,
                "sizeBytes": saver.last.size,
                "path": saver.storage.path(saver.last.name),
                "verified": True,  # read back with its hashes when resumed from, else with its sizes when published
            }
        if saver.resumed_step is not None:
            facts["resumedFromStep"] = saver.resumed_step
        if saver.error is not None:
            facts["error"] = saver.error[:1000]
        return facts


def _mean(losses: Sequence[float]) -> float | None:
    """Of the steps that were not left out; None where all were."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else None

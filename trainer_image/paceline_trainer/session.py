"""One training of a recipe in one process: resumes, trains, saves, evaluates, and tells of it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from paceline_trainer import recipes
from paceline_trainer.data import Position, TokensBefore, batches_per_epoch, position
from paceline_trainer.distributed import World
from paceline_trainer.loop import Step, Wishes, begin, mean_loss, ordered, predict, total_steps, train
from paceline_trainer.optimization.early_stopping import BestWeights, EarlyStopping, kept_back
from paceline_trainer.progress import LAST_REPORT_SECONDS, Activity, Reporter, payload
from paceline_trainer.server_loop import train_with_server
from paceline_trainer.task import Arrays, Evaluation, Task
from paceline_trainer.termination import OWN_SIGTERM_SECONDS, PeerLeft, Termination, end
from paceline_trainer.usage import Counts, Latest, Usage
from paceline_trainer.watching.anomaly import Action, AnomalyError
from paceline_trainer.watching.profiler import profiled
from paceline_trainer.watching.watchers import Watchers

if TYPE_CHECKING:
    from torch.distributed.checkpoint.stateful import Stateful

    from paceline_trainer.checkpoint import Saver, State

# A run that goes wrong more often than this is not saved by going back once more.
ROLL_BACKS = 3
# Scalars are written this often at most: eight of them take a quarter of a millisecond.
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Run:
    """What stays the same in a job's process, however often it trains."""

    recipe: str
    params: recipes.Training
    output: Path
    world: World
    termination: Termination
    reporter: Reporter
    usage: Usage

    def say(self, words: str) -> None:
        if self.world.main:
            print(words, flush=True)

    def identity(self) -> dict[str, Any]:
        """What must be the same for one run to go on from what another left."""
        params = dataclasses.asdict(self.params)
        fixed = {key: value for key, value in params.items() if key not in recipes.MAY_CHANGE}
        return {"recipe": self.recipe, **fixed}


@dataclass(frozen=True)
class Part:
    """One training of a job's ``of``, numbered from 0. Those with a name keep what they write in a folder of that name."""

    name: str = ""
    number: int = 0
    of: int = 1

    def percent(self, share: float) -> float:
        """Of the job, at this share of the part. 100 is the final report's to say: evaluation and saving come first."""
        return min(99.0, 100 * (self.number + share) / self.of)


class Session:
    """``figures`` are the metrics of the newest step."""

    def __init__(self, run: Run, task: Task, data: Arrays, held_out: Arrays, part: Part) -> None:
        """Resumes from the newest good checkpoint, where there is one."""
        self._run, self._task, self._part = run, task, part
        self._params, self._world = run.params, run.world
        self._data, self._held_out = data, held_out
        self._early: EarlyStopping | None = None
        if self._params.patience:
            self._early = EarlyStopping(self._params.patience, self._params.min_delta)
            self._data, self._kept_back = kept_back(data, task)
        in_split = len(self._data)
        self._data = task.training(self._data, self._world, self._say)
        self._samples = len(data) + len(self._data) - in_split
        self._folder = run.output / part.name
        self._watched = -math.inf
        self._figures: dict[str, Any] = {}
        self._kept_back_figures: dict[str, float] = {}
        self._eta: float | None = None
        self._saver: Saver | None = None
        torch.manual_seed(self._params.seed)
        self._total = total_steps(len(self._data), self._params)
        self._figures = {"current_step": 0, "total_steps": self._total}
        self._result = begin(task, self._params, self._world, self._total)
        self._best = BestWeights() if self._early else None
        if self._best is not None:
            self._best.keep(self._result.spread.model)
        sizes = f"train={len(self._data)} eval={len(held_out)}" + (
            f" kept_back={len(self._kept_back)}" if self._early else ""
        )
        self._say(f"world={self._world.size} backend={self._world.backend} device={self._world.device.type} {sizes}")
        self._load()
        tokens, order = task.tokens(self._data), partial(ordered, self._data, self._params)
        self._tokens_before = None if tokens is None else TokensBefore(tokens, order)
        run.usage.follow(self._counts)
        run.usage.times = self._result.times
        self._watchers = Watchers.of_run(
            self._folder,
            dataclasses.asdict(self._params),
            os.environ,
            main=self._world.main,
            resumed_step=len(self._result.losses),
            run_id="-".join(filter(None, (os.environ.get("PACELINE_JOB_UID"), part.name))) or None,
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
        if self._part.name:
            settings = dataclasses.replace(settings, directory=f"{settings.directory.rstrip('/')}/{self._part.name}")
        identity = {**self._run.identity(), "dataset": self._task.dataset, "samples": self._samples}
        self._saver = Saver(settings, self._world, identity)
        decay = [group["weight_decay"] for group in self._result.optimizer.param_groups]
        found = self._saver.resume(self._state())
        if found is None:
            self._say(f"no checkpoint in {self._saver.storage.url}: starting from nothing")
            return
        for group, own in zip(self._result.optimizer.param_groups, decay, strict=True):
            group["weight_decay"] = own  # it may be changed while a job is suspended, as the rate may
        at = found.position
        self._figures["current_step"] = at.step
        self._say(
            f"resumed from step {at.step} (attempt {found.attempt}, world size {found.world_size}): "
            f"epoch {at.epoch}, batch {at.batch}, {at.samples} samples trained on"
        )
        self._report("loading")

    def train(self) -> None:
        saves = self._saver is not None and os.environ.get("PACELINE_SAVE_ON_SIGTERM", "1") != "0"
        profiler = profiled(self._folder / "trace", self._world.rank) if self._params.profile else nullcontext(_nothing)
        with self._run.termination.deferred() if saves else nullcontext(), profiler as self._step_done:
            try:
                self._steps()
            except RuntimeError:
                # A collective that failed because peers have ended: so does this process.
                if self._run.termination.requested:
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
        if self._early is not None and self._early.stop:  # it had ended so before a checkpoint that it went on from
            return
        printed, per_epoch = 0.0, batches_per_epoch(len(self._data), self._params.batch_size)
        for step in self._trained(left_out):
            self._step_done()
            if step.updated is not None and step.updated.anomaly is not None:
                self._say(f"{step.updated.anomaly.because}; its update is skipped")
            times = self._result.times.mean
            shares = times.figures() if times else {}
            staleness = {"staleness": self._result.staleness.mean} if self._result.staleness else {}
            self._figures = {**step.figures(), **shares, **staleness, **self._kept_back_figures}
            self._eta = step.eta_seconds
            rate = step.updated.rate if step.updated is not None else None
            self._run.usage.latest = Latest(step.loss, step.samples_per_second, rate)
            # About 20 lines a run, the first step's among them, and in a long run never more than 10 s in silence.
            milestone = step.number in (1, step.total) or step.number % max(1, step.total // 20) == 0
            if milestone or self._result.seconds > printed + 10:
                printed = self._result.seconds
                self._say(str(step))
            if milestone or self._result.seconds > self._watched + WATCH_SECONDS:
                self._watched = self._result.seconds
                self._watchers.scalars(step.number, "train", step.watched())
                self._watchers.scalars(step.number, "time", shares)
            enough = step.number % per_epoch == 0 and self._enough(step.number)
            if self._saver is not None:
                self._saver.poll()
                if step.wishes.stop:
                    self._stop(step)
                if step.wishes.save:
                    self._save()
            self._report("training")
            if enough:
                break
        if self._saver is not None:
            self._save(wait=True)

    def _trained(self, left_out: Collection[int]) -> Iterator[Step]:
        run = self._task, self._data, self._params, self._world, self._result, self._wishes
        return train(*run, left_out) if self._result.spread.link is None else train_with_server(*run)

    def _enough(self, step: int) -> bool:
        """At an epoch's end: is it no longer worth while to go on? All processes find the same."""
        if self._early is None or self._best is None:
            return False
        self._report("evaluating")  # else a long one would be taken for a stall
        with self._run.usage.spending("evaluation"):
            loss = mean_loss(self._task, self._result.spread, self._kept_back, self._world)
        self._watchers.scalars(step, "kept_back", {"loss": loss})
        self._kept_back_figures = {"kept_back_loss": loss}  # what spec.cost.stopWhen may go by
        if self._early.update(loss, step):
            self._best.keep(self._result.spread.model)
        if self._early.stop:
            self._say(
                f"no better for {self._early.patience} epochs: the weights of step {self._early.best_step} are taken"
            )
        return self._early.stop

    def _wishes(self, step: int) -> Wishes:
        """Of this process. The interval is rank 0's to watch: clocks and unfinished saves differ between processes."""
        due = self._saver is not None and self._world.main and self._saver.due(step)
        return Wishes(stop=self._run.termination.requested, save=due)

    def _save(self, *, wait: bool = False) -> None:
        assert self._saver is not None
        if wait:
            self._report("checkpointing")
        # Lower is better: the mean loss of the newest epoch's worth of steps.
        recent = self._result.losses[-batches_per_epoch(len(self._data), self._params.batch_size) :]
        with self._run.usage.spending("checkpoint"):
            self._result.spread.settle()
            self._saver.save(self._state(), self._position(), score=_mean(recent), wait=wait)

    def _position(self) -> Position:
        return position(len(self._result.losses), len(self._data), self._params.batch_size)

    def _counts(self) -> Counts:
        """For threads that ask how far the training is."""
        at = self._position()
        return Counts(at.step, at.samples, None if self._tokens_before is None else self._tokens_before(at))

    def _stop(self, step: Step) -> None:
        """All processes are here, at the same step."""
        assert self._saver is not None
        self._save(wait=True)
        saved = f"step {step.number} is saved" if self._saver.saved_step == step.number else "saving FAILED"
        percent = self._part.percent(step.number / step.total)
        self._run.reporter.close(
            self._body("checkpointing", percent=percent, eta_seconds=self._eta), seconds=LAST_REPORT_SECONDS
        )
        if self._run.termination.wait(OWN_SIGTERM_SECONDS):
            self._end(f"terminated by SIGTERM: {saved}")
        raise PeerLeft(f"a peer was told to stop; {saved}")

    def _end(self, why: str) -> NoReturn:
        self.close()
        end(why)

    def evaluate(self) -> Evaluation | None:
        """On what is held out, in rank 0 (else None); with patience, of the best epoch's weights."""
        self._report("evaluating")
        if self._best is not None:
            self._best.restore(self._result.spread.model)
        with self._run.usage.spending("evaluation"):
            predictions = predict(self._task, self._result.spread, self._held_out, self._world)
        if predictions is None:
            return None
        from paceline_trainer.evaluation.metrics import evaluation

        found = evaluation(predictions, self._task.classes)
        self._watchers.scalars(len(self._result.losses), "eval", found.metrics)
        return found

    def finish(self, folds: dict[str, Any] | None) -> None:
        """Evaluates and saves the model; ``folds``: what cross-validation found."""
        evaluation = self.evaluate()
        self._task.finish(self._result.spread.model)
        weights = self._result.spread.full_state()
        if weights is None or evaluation is None:
            return
        model = self._save_model(weights, evaluation, folds)
        self._figures |= {f"eval_{key}": value for key, value in evaluation.metrics.items()}
        self._run.reporter.close(self._body("evaluating", percent=100, eta_seconds=0, model=model))

    def _save_model(
        self, weights: dict[str, Tensor], evaluation: Evaluation, folds: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Writes and prints what came of it; the model as the final progress report says it."""
        from paceline_trainer import artifact
        from paceline_trainer.evaluation.plots import pictures
        from paceline_trainer.evaluation.report import summary

        losses, per_epoch = self._result.losses, batches_per_epoch(len(self._data), self._params.batch_size)
        facts = {
            "recipe": self._run.recipe,
            "params": dataclasses.asdict(self._params),
            "dataset": self._task.dataset,
            "world_size": self._world.size,
            "seconds": round(self._result.seconds, 3),
            "metrics": evaluation.metrics,
        }
        times, staleness = self._result.times.mean, self._result.staleness
        report = {
            "evaluation": evaluation.metrics,
            "samples": len(self._held_out),
            "loss_by_epoch": [_mean(losses[i : i + per_epoch]) for i in range(0, len(losses), per_epoch)],
            "losses": [loss if math.isfinite(loss) else None for loss in losses],  # JSON has no NaN
            **({"step_seconds": dataclasses.asdict(times)} if times else {}),
            **({"staleness": {"mean": staleness.mean, "max": staleness.most}} if staleness else {}),
            **({"folds": folds} if folds else {}),
            **({"best_step": self._early.best_step} if self._early else {}),
            **evaluation.details,
        }
        output = self._run.output
        manifest = artifact.save(output, weights, facts, report, pictures(losses, per_epoch, evaluation.details))
        if times:
            self._say(str(times))
        if staleness:
            self._say(str(staleness))
        self._say(summary(evaluation.metrics, evaluation.details))
        self._say(f"model: {output / artifact.WEIGHTS} (sha256 {manifest['sha256']})")
        return {
            "path": str(output.absolute()),
            "format": "safetensors",
            "sha256": manifest["sha256"],
            "metrics": evaluation.metrics,
        }

    def _state(self) -> State:
        from paceline_trainer.checkpoint import State

        result = self._result
        others: dict[str, Stateful] = {"update": result.update, "task": self._task}
        if self._early is not None:
            others["early"] = self._early
        return State(result.spread.model, result.optimizer, losses=result.losses, others=others, best=self._best)

    def _say(self, words: str) -> None:
        self._run.say(f"{self._part.name}: {words}" if self._part.name else words)

    def _report(self, activity: Activity) -> None:
        percent = self._part.percent(len(self._result.losses) / self._total)
        self._run.reporter.report(self._body(activity, percent=percent, eta_seconds=self._eta))

    def _body(self, activity: Activity, **more: Any) -> dict[str, Any]:
        return payload(
            activity=activity, metrics=self._figures, checkpoint=self._saver.facts() if self._saver else {}, **more
        )


def _nothing() -> None:
    """Where no profiler waits for a step's end."""


def _mean(losses: Sequence[float]) -> float | None:
    """Of the steps that were not left out; None where all were."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) / len(finite) if finite else None

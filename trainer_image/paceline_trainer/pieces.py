"""What a training loop of one's own takes over from the recipes: progress to the operator, and elastic checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from paceline_trainer.checkpoint import Saver, Settings, State
from paceline_trainer.data import Position
from paceline_trainer.datafiles.batches import Batch
from paceline_trainer.distributed import World
from paceline_trainer.progress import LAST_REPORT_SECONDS, Activity, Reporter, payload
from paceline_trainer.termination import OWN_SIGTERM_SECONDS, PeerLeft, Termination, end
from paceline_trainer.usage import Counts, Latest, Spending, Usage
from paceline_trainer.watching.prometheus import serve

# Time that training waits; loading is none of it.
SPENT_ON: Mapping[Activity, Spending] = {"evaluating": "evaluation", "checkpointing": "checkpoint"}


class Progress:
    """Reports to the operator, by a thread in the process of rank 0; does nothing where nobody listens. Training never waits
    for a report, and none that fails ends it. ``checkpoint`` is what reports say of the newest one; ``usage`` is of this process,
    which Prometheus may read too."""

    def __init__(self, world: World, environ: Mapping[str, str] = os.environ) -> None:
        self.checkpoint: Mapping[str, Any] = {}
        self.usage = Usage(world.device, environ)
        serve(self.usage, environ)
        self._reporter = Reporter(environ if world.main else {}, usage=self.usage.figures, restarts=world.restarts)
        self._metrics: dict[str, float] = {}
        self._percent, self._eta = 0.0, math.nan
        self._first: tuple[Batch, float] | None = None
        self._counts = Counts()
        self.say("loading")

    def step(self, batch: Batch, loss: float, **metrics: float) -> None:
        """After each step; ``loss`` is the mean over the global batch, ``metrics`` are your own."""
        now = time.monotonic()
        if self._first is None:
            self._first = batch, now
            # What came before this batch is of a run that this one goes on with.
            self._counts = Counts(batch.step - 1, batch.seen - batch.size)
            self.usage.follow(lambda: self._counts)
        first, began = self._first
        self._counts = Counts(batch.step, batch.seen)
        more, seconds, total = batch.step - first.step, now - began, batch.total or 0
        self._percent = min(99.0, 100 * batch.epoch / batch.epochs)  # 100 is finish()'s to say
        self._eta = seconds / more * (total - batch.step) if total and more > 0 else math.nan
        per_second = (batch.seen - first.seen) / seconds if more > 0 and seconds > 0 else None
        self.usage.latest = Latest(loss, per_second, metrics.get("learning_rate"))
        self._metrics = {
            "current_step": batch.step,
            **({"total_steps": total} if total else {}),
            "current_epoch": round(batch.epoch, 2),
            "loss": loss,
            **metrics,
        }
        self.say("training")

    def say(self, activity: Activity) -> None:
        """What goes on now, such as ``evaluating``: until the next step."""
        self.usage.spend(SPENT_ON.get(activity))
        self._reporter.report(self._body(activity))

    def finish(self, **metrics: float) -> None:
        """At the end: 100 %, with the last step's figures and these; waits until the report is delivered, or can't be."""
        self._percent, self._eta = 100.0, 0.0
        self._metrics |= metrics
        self._reporter.close(self._body("evaluating"))

    def interrupted(self) -> None:
        """Before the process ends because it was told to."""
        self._reporter.close(self._body("checkpointing"), seconds=LAST_REPORT_SECONDS)

    def _body(self, activity: Activity) -> dict[str, Any]:
        eta = self._eta if math.isfinite(self._eta) else None
        return payload(
            percent=self._percent,
            eta_seconds=eta,
            metrics=self._metrics,
            activity=activity,
            checkpoint=self.checkpoint,
        )


class Data(Protocol):
    """Batches or StreamBatches."""

    @property
    def position(self) -> Position: ...
    @property
    def per_epoch(self) -> int | None: ...
    def identity(self) -> dict[str, Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class Checkpoints:
    """Around the loop, by ``with``: resumes when made, saves when it is due, at SIGTERM and at the end.

    As PACELINE_CHECKPOINT_DIR and its like say; without that variable it saves nothing, and SIGTERM ends the process at once.
    ``resumed`` is the step that it goes on from, 0 where there was no checkpoint; ``losses`` are those of each step, from
    before a resume too. All processes make the same calls in the same order.
    """

    def __init__(
        self,
        world: World,
        model: nn.Module,
        optimizer: Optimizer,
        data: Data,
        progress: Progress,
        *,
        identity: Mapping[str, Any],
        scheduler: LRScheduler | None = None,
        scaler: GradScaler | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``identity`` says which training this is, as plain values: what shapes the model, the optimizer and the data. A
        checkpoint of another is not resumed from. ``model`` may be wrapped by DistributedDataParallel or sharded by FSDP2.
        Call it from the main thread."""
        self.losses: list[float] = []
        self._world, self._data, self._progress = world, data, progress
        self._state = State(model, optimizer, scheduler, scaler, self.losses, others={"data": data})
        self._stack = ExitStack()
        self._termination = Termination()
        self._termination.install()
        settings = Settings.from_environ(environ)
        self._saver: Saver | None = None
        self._told_to_save = environ.get("PACELINE_SAVE_ON_SIGTERM", "1") != "0"
        if settings is not None:
            self._saver = Saver(settings, world, {**identity, **data.identity()})
            self._saver.resume(self._state)
            self._progress.checkpoint = self._saver.facts()
        self.resumed = len(self.losses)

    def __enter__(self) -> Self:
        if self._saver is not None and self._told_to_save:
            self._stack.enter_context(self._termination.deferred())
        return self

    def step(self, loss: float) -> None:
        """After each step. ``loss`` is the mean over the global batch: the same in all processes.

        At SIGTERM, to any of them, all save this step. Those that were told end with exit code 143; a process that was not
        raises PeerLeft, upon which torchrun forms the group anew. Raises FencedError if a newer attempt has taken over.
        """
        self.losses.append(loss)
        if len(self.losses) != self._data.position.step:
            raise RuntimeError(
                f"{len(self.losses)} losses at step {self._data.position.step}: call step() once for every batch"
            )
        if self._saver is None:
            return
        # The interval is rank 0's to watch: clocks and unfinished saves differ between processes.
        due = self._world.main and self._saver.due(len(self.losses))
        stop, save = self._world.sum(torch.tensor([float(self._termination.requested), float(due)])).tolist()
        self._saver.poll()
        if stop:
            self._stop(self._saver)
        elif save:
            self._save(self._saver)
        self._progress.checkpoint = self._saver.facts()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, RuntimeError) and not isinstance(error, PeerLeft) and self._termination.requested:
            end("terminated by SIGTERM: peers are gone, ending without saving this step")
        if error is None and self._saver is not None:
            self._save(self._saver, wait=True)
            self._progress.checkpoint = self._saver.facts()
        self._stack.__exit__(kind, error, traceback)

    def _save(self, saver: Saver, *, wait: bool = False) -> None:
        # The best, which is kept, is by the mean loss of the newest epoch's worth of steps.
        recent = [loss for loss in self.losses[-(self._data.per_epoch or 0) :] if math.isfinite(loss)]
        score = sum(recent) / len(recent) if recent else None
        with self._progress.usage.spending("checkpoint"):
            if wait:
                self._progress.say("checkpointing")
            saver.save(self._state, self._data.position, score=score, wait=wait)

    def _stop(self, saver: Saver) -> NoReturn:
        """All processes are here, at the same step."""
        self._save(saver, wait=True)
        step = self._data.position.step
        saved = f"step {step} is saved" if saver.saved_step == step else "saving FAILED"
        self._progress.checkpoint = saver.facts()
        self._progress.interrupted()
        if self._termination.wait(OWN_SIGTERM_SECONDS):
            end(f"terminated by SIGTERM: {saved}")
        raise PeerLeft(f"a peer was told to stop; {saved}")

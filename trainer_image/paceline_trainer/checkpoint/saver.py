"""Saves while training goes on, keeps the last ones and the best, and never lets a save that failed end the run."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.fsspec_filesystem import FsspecReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from paceline_trainer.checkpoint.fence import Fence, FencedError
from paceline_trainer.checkpoint.manifest import DamagedError, Manifest, StoredFile, name_of
from paceline_trainer.checkpoint.resume import choose
from paceline_trainer.checkpoint.settings import Settings
from paceline_trainer.checkpoint.state import State, reseed
from paceline_trainer.checkpoint.storage import OPTIONS, Storage
from paceline_trainer.checkpoint.writer import Writer
from paceline_trainer.data import Position
from paceline_trainer.distributed import World

# DCP warns of being used by a single process, which is meant so here; a thread of its own does, so no context can hold it back.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")
# In an object store what lies there is cleared away after DCP has looked, in prepare_global_plan.
warnings.filterwarnings("ignore", message="Detected an existing checkpoint")


class Saver:
    """Every process of the group makes the same calls in the same order. ``identity`` says which training this is: a checkpoint
    of another is not resumed from.

    After ``poll()``: ``last`` is the newest good checkpoint (on rank 0), ``saved_step`` its step, ``error`` why the latest save
    failed.
    """

    def __init__(self, settings: Settings, world: World, identity: Mapping[str, Any]) -> None:
        self._settings, self._world = settings, world
        self._identity = dict(identity)
        self.storage = Storage(settings.directory)
        self._fence = Fence(self.storage, settings.attempt)
        # A group of its own: the saving thread's messages must not mix with those of training. And CPU, also beside NCCL.
        group = dist.new_group(backend="gloo") if world.size > 1 else None
        self._group = cast("dist.ProcessGroup | None", group)
        self._running: tuple[Future[Any], Position, float] | None = None
        self._damaged: set[str] = set()
        self._tried_step, self._tried_at = 0, time.monotonic()
        self.last: Manifest | None = None
        self.saved_step: int | None = None
        self.resumed_step: int | None = None
        self.error: str | None = None
        self._save_seconds: float | None = None
        self._restore_seconds: float | None = None

    def resume(self, state: State) -> Manifest | None:
        """Fills ``state`` from the newest good checkpoint, and says which; None where there is none.

        Raises FencedError if a newer attempt has been here, and what the storage raises where it cannot be read.
        """
        began = time.monotonic()
        if self._world.main:
            try:
                self._fence.check()
            except OSError as error:
                if not self.storage.local:
                    raise  # to fsspec a bucket that is missing looks like one that is empty
                # A full disk can still be read from.
                print(f"checkpoints cannot be written to {self.storage.url}: {error}", flush=True)
            for name in self.storage.leftovers():
                _quietly(self.storage.remove, name)
        choice = choose(self.storage, self._identity, self._world, self._group)
        self._damaged, found = choice.damaged, choice.chosen
        if found is None:
            return None
        same_size = found.world_size == self._world.size
        tree = state.tree(self._world.rank, with_random=same_size)
        tree["losses"] = torch.empty(found.position.step, dtype=torch.float64)
        reader = FsspecReader(self.storage.path(found.name), **OPTIONS)
        load(tree, storage_reader=reader, process_group=self._group, no_dist=self._group is None)
        state.load(tree, self._world.rank)
        if not same_size:
            reseed(found.position.step, self._world.rank)
        step = found.position.step
        self.last, self.saved_step, self.resumed_step, self._tried_step = found, step, step, step
        self._restore_seconds = time.monotonic() - began
        return found

    def facts(self) -> dict[str, Any]:
        """What every report says of checkpoints: those before it may not have been delivered."""
        found: dict[str, Any] = {}
        if self.last is not None:
            found |= {
                "step": self.last.position.step,
                "time": self.last.time,
                "sizeBytes": self.last.size,
                "path": self.storage.path(self.last.name),
                "verified": True,  # read back with its hashes when resumed from, else with its sizes when published
            }
        if self.resumed_step is not None:
            found["resumedFromStep"] = self.resumed_step
        seconds = {"saveSeconds": self._save_seconds, "restoreSeconds": self._restore_seconds}
        found |= {name: round(value, 3) for name, value in seconds.items() if value is not None}
        if self.error is not None:
            found["error"] = self.error[:1000]
        return found

    def due(self, step: int) -> bool:
        """Should this step be saved? Of rank 0's word, for all. A save that still runs puts the next one off."""
        if self._running is not None and not self._running[0].done():
            return False
        every = self._settings.every_steps
        if every is not None:
            return step // every > self._tried_step // every
        seconds = self._settings.every_seconds
        return seconds is not None and time.monotonic() - self._tried_at >= seconds

    def save(self, state: State, position: Position, score: float | None = None, *, wait: bool = False) -> None:
        """Copies the state and writes it while the caller goes on, or with ``wait`` before it returns. A step that is saved
        already is not saved again. Raises FencedError alone; whatever else goes wrong is told by ``error``."""
        began = time.monotonic()
        self.poll(wait=True)
        if self.saved_step == position.step:
            return
        self._tried_step, self._tried_at = position.step, began
        manifest = Manifest(
            position=position,
            world_size=self._world.size,
            attempt=self._settings.attempt,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            torch=torch.__version__,
            identity=self._identity,
            files={},
            score=score,
        )
        writer = Writer(
            self.storage.assembly(manifest.name),
            sync=self.storage.local,
            prepare=lambda: self._prepare(manifest),
            publish=lambda files: self._publish(manifest, files),
        )
        started = async_save(
            state.tree(self._world.rank),
            storage_writer=writer,
            process_group=self._group,
            no_dist=self._group is None,
        )
        future = cast("Future[Any]", started)
        if wait:
            _settle(future)
        self._running = (future, position, time.monotonic() - began)
        self.poll()

    def poll(self, *, wait: bool = False) -> bool:
        """Takes note of a save that has ended, well or not; was there one? Raises FencedError."""
        if self._running is None or not (wait or self._running[0].done()):
            return False
        (future, position, lost), self._running = self._running, None
        failure = _failure(future)
        if isinstance(failure, FencedError):
            raise failure
        if failure is None:
            self.saved_step, self.error = position.step, None
            if self._world.main and self.last is not None:
                megabytes = self.last.size / 1e6
                print(
                    f"checkpoint: step {position.step}, {megabytes:.1f} MB, {lost:.2f} s of training lost to it",
                    flush=True,
                )
        else:
            self.error = str(failure)
            if self._world.main:
                _quietly(self.storage.clear_assembly, name_of(position.step))
                told = f"checkpoint of step {position.step} FAILED: {failure}"
                print(f"{told}; training goes on, the next try is at the next interval", flush=True)
        return True

    def finish(self) -> None:
        """Waits for a save that still runs."""
        self.poll(wait=True)

    def _prepare(self, manifest: Manifest) -> None:
        self._fence.check()
        self.storage.clear_assembly(manifest.name)

    def _publish(self, manifest: Manifest, files: dict[str, StoredFile]) -> None:
        self._fence.check()
        made = dataclasses.replace(manifest, files=files)
        self.storage.publish(made)
        self.last, self._save_seconds = made, time.monotonic() - self._tried_at
        self._damaged.discard(made.name)
        try:
            self._prune()
        except Exception as error:  # the save itself is good
            print(f"old checkpoints in {self.storage.url} could not be removed: {error}", flush=True)

    def _prune(self) -> None:
        """Keeps the newest ``keep`` and the best; clears away what was found damaged. Another training's are left alone."""
        own: list[Manifest] = []
        for name in self.storage.steps():
            if name in self._damaged:
                continue
            try:
                found = self.storage.manifest(name)
            except DamagedError:
                continue  # not seen at the start: somebody may just be writing it
            if found.identity == self._identity:
                own.append(found)
        kept = {found.name for found in own[: self._settings.keep]}
        scored = [found for found in own if found.score is not None]
        if scored:
            kept.add(min(scored, key=lambda found: (found.score, -found.position.step)).name)
        for name in [found.name for found in own if found.name not in kept] + sorted(self._damaged):
            self.storage.remove(name)
        self._damaged.clear()


def _failure(future: Future[Any]) -> BaseException | None:
    """What ended a save, without DCP's wrapping; None if it went well."""
    error = future.exception()
    if isinstance(error, CheckpointException):
        return next(iter(error.failures.values()))[0]
    return error


def _settle(future: Future[Any]) -> None:
    future.exception()  # waits; what it says is poll()'s to handle


def _quietly(act: Any, *arguments: Any) -> None:
    """For clearing away, where what goes wrong has been told already or will be."""
    try:
        act(*arguments)
    except Exception as error:
        print(f"could not clear away what is left of a checkpoint: {error}", flush=True)

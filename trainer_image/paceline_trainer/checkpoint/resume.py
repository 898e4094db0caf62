"""Which checkpoint to go on from: the newest that is whole, unchanged and of this very training. All processes agree on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist

from paceline_trainer.checkpoint.manifest import DamagedError, Manifest, UnreadableError
from paceline_trainer.checkpoint.storage import Storage
from paceline_trainer.distributed import World


@dataclass
class Choice:
    """``chosen`` is None where training starts from nothing; ``damaged`` are names to be cleared away when there is better."""

    chosen: Manifest | None = None
    damaged: set[str] = field(default_factory=set)


def choose(storage: Storage, identity: Mapping[str, Any], world: World, group: dist.ProcessGroup | None) -> Choice:
    """Reads every byte of what it chooses, shared among the processes. Raises what the storage raises when it cannot be listed:
    nobody may start from nothing because the storage was out of order for a moment."""
    choice = Choice()
    for name in _agreed(storage.steps() if world.main else None, world, group):
        verdict = _agreed(_judge(storage, name, identity) if world.main else None, world, group)
        if verdict.manifest is not None:
            verdict = _shared_check(storage, verdict.manifest, world, group)
        if verdict.manifest is not None:
            choice.chosen = verdict.manifest
            return choice
        if verdict.damaged:
            choice.damaged.add(name)
        if world.main:
            print(f"checkpoint {storage.path(name)} is skipped: {verdict.why}", flush=True)
    return choice


@dataclass(frozen=True)
class _Verdict:
    """A manifest to go on with, or why not; ``damaged`` where it can be of no use to anybody."""

    manifest: Manifest | None = None
    why: str = ""
    damaged: bool = False

    @classmethod
    def of(cls, error: DamagedError) -> _Verdict:
        return cls(why=str(error), damaged=not isinstance(error, UnreadableError))


def _judge(storage: Storage, name: str, identity: Mapping[str, Any]) -> _Verdict:
    """By the manifest alone."""
    try:
        found = storage.manifest(name)
    except DamagedError as error:
        return _Verdict.of(error)
    for key in sorted({**found.identity, **identity}):
        was, now = found.identity.get(key), identity.get(key)
        if was != now:
            return _Verdict(why=f"it is of another training: {key} was {was!r} and is {now!r}")
    return _Verdict(found)


def _shared_check(storage: Storage, found: Manifest, world: World, group: dist.ProcessGroup | None) -> _Verdict:
    """Each process reads its part of the files; the first that is wrong decides."""
    mine = _Verdict(found)
    for number, (file, expected) in enumerate(sorted(found.files.items())):
        if mine.manifest is not None and number % world.size == world.rank:
            try:
                storage.check(found.name, file, expected)
            except DamagedError as error:
                mine = _Verdict.of(error)
    verdicts: list[Any] = [mine]
    if group is not None:
        verdicts = [None] * world.size
        dist.all_gather_object(verdicts, mine, group=group)
    return next((verdict for verdict in verdicts if verdict.manifest is None), mine)


def _agreed(value: Any, world: World, group: dist.ProcessGroup | None) -> Any:
    """Rank 0's value, in every process."""
    if group is None:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group)
    return box[0]

"""Reads all once, watches for ever: keeps a store of slim records true to the API server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import aiohttp

from paceline.kube.client import ApiError, Client, Json

log = logging.getLogger(__name__)

PAGE = 500
# The server ends a watch after this; a new one starts where it ended. Bookmarks come about once a minute in between.
WATCH_SECONDS = 240
FIRST_DELAY_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 10.0
# A watch that begins with all that is there, and says when it has told it (KEP-3157): an object at a time, where a list is made,
# sent and read as a whole (ADR 17).
FROM_THE_START = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Record(Protocol):
    """A frozen dataclass that knows its version."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def resource_version(self) -> int: ...


R = TypeVar("R", bound=Record)


class Store(Generic[R]):
    """Records by key, from the watch and from the answers to our own writes, whichever comes first."""

    def __init__(self, changed: Callable[[R | None, R | None], None]) -> None:
        """``changed(before, after)`` is told of every change; either side may be None."""
        self._records: dict[str, R] = {}
        self._changed = changed
        # Newest version that the watch has delivered.
        self.watched = 0

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> R | None:
        return self._records.get(key)

    def values(self) -> list[R]:
        return list(self._records.values())

    def put(self, key: str, record: R) -> None:
        old = self._records.get(key)
        if old is not None and old.resource_version >= record.resource_version:
            return
        self._records[key] = record
        if old is None or _differs(old, record):
            self._changed(old, record)

    def put_own(self, key: str, record: R) -> None:
        """From the answer to our own write. What the watch is past already, it has told, a deletion included."""
        if record.resource_version > self.watched:
            self.put(key, record)

    def remove(self, key: str) -> None:
        old = self._records.pop(key, None)
        if old is not None:
            self._changed(old, None)

    def replace(self, fresh: dict[str, R], listed_at: int) -> None:
        """After a list: what it does not have is gone, unless it is newer than the list."""
        self.watched = max(self.watched, listed_at)
        for key, record in fresh.items():
            self.put(key, record)
        for key, old in list(self._records.items()):
            if key not in fresh and old.resource_version <= listed_at:
                self.remove(key)


def _differs(old: Record, new: Record) -> bool:
    """Everything but the resource version: most events of a pod change nothing that a record keeps."""
    fields = [name for name in old.__dataclass_fields__ if name != "resource_version"]
    return any(getattr(old, name) != getattr(new, name) for name in fields)


class Reflector(Generic[R]):
    def __init__(
        self,
        client: Client,
        path: str,
        store: Store[R],
        parse: Callable[[Json], R | None],
        *,
        alive: Callable[[], None] = lambda: None,
        **params: str,
    ) -> None:
        """``parse`` makes the record, or None for an object to leave out; ``alive`` is called at every sign of life."""
        self._client, self._path, self._params = client, path, params
        self._store, self._parse, self._alive = store, parse, alive
        # Up to where the store is true; empty while it is not.
        self._version = ""
        # Does the server tell of what is there by a watch, too? From Kubernetes 1.34 on it does.
        self._streams = True
        # Seconds until the next try, if this one fails.
        self._delay = FIRST_DELAY_SECONDS
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Nothing that the network or the server does ends it."""
        while True:
            try:
                if not self._version and not self._streams:
                    await self._list()
                await self._watch()
            except ApiError as error:
                if error.code == 410:  # the server has forgotten our version
                    self._version = ""
                    continue
                if error.code == 422 and not self._version and self._streams:
                    self._streams = False
                    continue
                await self._wait(str(error))
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                await self._wait(repr(error))

    async def _wait(self, why: str) -> None:
        log.warning("watch of %s: %s; again in %.1f s", self._path, why, self._delay)
        await asyncio.sleep(self._delay * (0.5 + random.random()))
        self._delay = min(self._delay * 2, BACKOFF_MAX_SECONDS)

    async def _list(self) -> None:
        fresh: dict[str, R] = {}
        params = {**self._params, "limit": str(PAGE)}
        while True:
            page = await self._client.get(self._path, **params)
            self._alive()
            for obj in page.get("items") or []:
                record = self._parse(obj)
                if record is not None:
                    fresh[_key(obj)] = record
            meta = page["metadata"]
            if not meta.get("continue"):
                break
            params["continue"] = meta["continue"]
        self._is_true(fresh, meta["resourceVersion"])

    async def _watch(self) -> None:
        """From the version on; without one, first of all that is there."""
        start = {"resourceVersion": self._version} if self._version else FROM_THE_START
        fresh: dict[str, R] | None = None if self._version else {}
        seconds = WATCH_SECONDS + random.randrange(60)
        async for event in self._client.watch(self._path, seconds, **start, **self._params):
            self._alive()
            self._delay = FIRST_DELAY_SECONDS
            kind, obj = event["type"], event["object"]
            version = obj["metadata"]["resourceVersion"]
            if kind == "BOOKMARK":
                if fresh is None:
                    self._is_at(version)
                elif INITIAL_EVENTS_END in obj["metadata"].get("annotations", {}):
                    self._is_true(fresh, version)
                    fresh = None
                continue
            record = None if kind == "DELETED" else self._parse(obj)
            if fresh is None:
                self._is_at(version)
                if record is None:
                    self._store.remove(_key(obj))
                else:
                    self._store.put(_key(obj), record)
            elif record is None:
                fresh.pop(_key(obj), None)
            else:
                fresh[_key(obj)] = record

    def _is_true(self, fresh: dict[str, R], version: str) -> None:
        self._store.replace(fresh, int(version))
        self._version = version
        self.synced.set()

    def _is_at(self, version: str) -> None:
        self._version = version
        self._store.watched = max(self._store.watched, int(version))


def _key(obj: Json) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])

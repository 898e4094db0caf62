"""kopf, reduced to what it is best at: watching the custom resources and handing their events over.

kopf costs about 1 ms of CPU an event, so pods and nodes go through our own reflectors; and it writes nothing: no
finalizers, no annotations, no peering, no events.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from paceline.api import GROUP, VERSION
from paceline.kube.config import TOKEN_REREAD_SECONDS, Cluster


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """As if it were not installed."""
    modules: dict[str, Any] = sys.modules
    before = modules.get(module)
    modules[module] = None
    try:
        yield
    finally:
        del modules[module]
        if before is not None:
            modules[module] = before


# kopf knows the models of this package where it is installed, as it is for the command line: 270 modules and 9 MB for nothing.
with _hidden("kubernetes"):
    import kopf
    from kopf._core.engines.peering import Identity

# Objects of one answer when what is there is read.
CHUNK = 500

OnEvent = Callable[[dict[str, Any], bool], None]


class NoStorage(kopf.ProgressStorage):
    """There are no handlers whose progress would have to be kept."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class NoDiffBase(kopf.DiffBaseStorage):
    """Nobody asks for differences: the plan is level-triggered. So there is nothing to compare either, of which kopf would copy
    every job at every event: a fifth of a restart's time (ADR 19)."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def settings() -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.persistence.progress_storage = NoStorage()
    chosen.persistence.diffbase_storage = NoDiffBase()
    # A watch that hangs without a word is renewed; the server ends it every five minutes anyhow.
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 330
    chosen.watching.connect_timeout = 10
    # By default all objects come in one answer, which is kept several times over: bytes, text, objects, a task for each of these.
    chosen.watching.chunk_size = CHUNK
    # kopf keeps a task for every object that had an event lately; at the end it waits for them.
    chosen.queueing.idle_timeout = 1
    chosen.queueing.exit_timeout = 0.5
    return chosen


async def watch_jobs(cluster: Cluster, on_event: Mapping[str, OnEvent], handle_signals: Callable[[], None]) -> None:
    """Calls ``on_event[plural](object, deleted)`` for every object of these kinds and every change of one, until cancelled.

    ``handle_signals`` puts the process's own signal handlers in place: kopf installs its own, and would then wait five
    seconds for tasks that are not its own, with the lease still held.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=cluster.server,
            ca_data=cluster.ca_data,
            certificate_data=cluster.certificate,
            private_key_data=cluster.private_key,
            token=cluster.bearer(),
            # A service account's token is renewed on disk; kopf asks again in time.
            expiration=datetime.now(UTC) + timedelta(seconds=10 * TOKEN_REREAD_SECONDS) if cluster.token_file else None,
        )

    for plural, told in on_event.items():
        kopf.on.event(GROUP, VERSION, plural, id=plural, registry=registry)(_handler(told))

    ours = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=settings(),
        clusterwide=True,
        standalone=True,
        # Only peering would use it; kopf's own default looks the user's name up, and in a container there is none.
        identity=Identity("paceline"),
    )
    handle_signals()
    await kopf.run_tasks(tasks, ignored=ours)


def _handler(told: OnEvent) -> Any:
    async def event(event: kopf.RawEvent, **_: Any) -> None:
        told(dict(event["object"]), event["type"] == "DELETED")

    return event

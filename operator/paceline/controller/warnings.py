"""What the runtime and the kubelet say of pods that do not start: the newest warning among a pod's events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import aiohttp

from paceline.kube.client import ApiError, Client

log = logging.getLogger(__name__)

# How old a list of a namespace's warnings may be, and how many times as old as it took to get where that is more: on a full API
# server, with thousands of pods that wait, it takes seconds.
FRESH_SECONDS, FRESH_FOLD = 5, 20


@dataclass(slots=True)
class _Listing:
    found: asyncio.Task[dict[str, str]]  # by pod uid
    fresh_until: float = inf


class PodWarnings:
    """Listed by namespace, for all of its pods together: the API server has no cache of events, and to find one pod's it reads
    and decodes all of its namespace. One list a pod took half of its CPU while 1,000 jobs started."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client, self._clock = client, clock
        self._lists: dict[str, _Listing] = {}  # by namespace

    async def newest(self, namespace: str, uid: str) -> str:
        """ "REASON: message" of the pod; empty where there is none, or it cannot be had."""
        now = self._clock()
        self._lists = {name: listing for name, listing in self._lists.items() if now < listing.fresh_until}
        if namespace not in self._lists:
            self._lists[namespace] = self._ask(namespace, now)
        # Whoever waits may be cancelled; the list is others' too.
        return (await asyncio.shield(self._lists[namespace].found)).get(uid, "")

    def _ask(self, namespace: str, now: float) -> _Listing:
        listing = _Listing(asyncio.create_task(self._list(namespace)))

        def answered(_: object) -> None:
            listing.fresh_until = now + max(FRESH_SECONDS, FRESH_FOLD * (self._clock() - now))

        listing.found.add_done_callback(answered)
        return listing

    async def _list(self, namespace: str) -> dict[str, str]:
        try:
            path = f"/api/v1/namespaces/{namespace}/events"
            found = await self._client.get(path, fieldSelector="involvedObject.kind=Pod,type=Warning")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("events not read: %s", error)
            return {}
        return {e["involvedObject"]["uid"]: f"{e['reason']}: {e['message']}" for e in sorted(found["items"], key=_time)}


def _time(event: dict[str, Any]) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""

"""A store that follows a real API server: by a watch that begins with all there is, and by lists where that is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from paceline.kube import config
from paceline.kube.client import Client, Json
from paceline.kube.reflector import FROM_THE_START, Reflector, Store

FEW, MANY = 3, 700  # more than a page of a list


@dataclass(frozen=True)
class Thing:
    resource_version: int
    value: str


def thing(obj: Json) -> Thing | None:
    value = (obj.get("data") or {}).get("value")
    return None if value is None else Thing(int(obj["metadata"]["resourceVersion"]), value)


@dataclass
class Followed:
    """ConfigMaps of a namespace, followed by a reflector."""

    client: Client
    path: str
    asked: Counter[str]
    store: Store[Thing] = field(init=False)
    reflector: Reflector[Thing] = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(lambda before, after: None)
        self.reflector = Reflector(self.client, self.path, self.store, thing)

    def here(self) -> dict[str, str]:
        return {key.partition("/")[2]: self.store.get(key).value for key in self.store._records}

    async def make(self, name: str, value: str) -> None:
        await self.client.create(self.path, {"metadata": {"name": name}, "data": {"value": value}})

    async def comes_to(self, expected: dict[str, str]) -> None:
        for _ in range(600):
            if self.here() == expected:
                return
            await asyncio.sleep(0.05)
        assert self.here() == expected

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reflector.run())
        try:
            await asyncio.wait_for(self.reflector.synced.wait(), 60)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["told", "listed"])
async def followed(request, namespace, monkeypatch) -> AsyncIterator[Followed]:
    if request.param == "listed":
        # What the server refuses, with 422, as one does that has no such watches.
        monkeypatch.setitem(FROM_THE_START, "resourceVersionMatch", "Exact")
    asked = Counter[str]()
    client = Client(config.load(), lambda verb, code: asked.update([verb]))
    try:
        yield Followed(client, f"/api/v1/namespaces/{namespace}/configmaps", asked)
    finally:
        await client.close()


async def test_what_is_there_comes_first_and_then_what_changes(followed, request):
    for number in range(FEW):
        await followed.make(f"m-{number}", "old")
    async with followed.running():
        # kube-root-ca.crt, which every namespace has, is none of them: it makes no record.
        assert followed.here() == {"m-0": "old", "m-1": "old", "m-2": "old"}
        await followed.make("new", "new")
        await followed.client.merge_patch(f"{followed.path}/m-0", {"data": {"value": "changed"}})
        await followed.client.merge_patch(f"{followed.path}/m-1", {"data": None})
        await followed.client.delete(f"{followed.path}/m-2")
        await followed.comes_to({"m-0": "changed", "new": "new"})
    listed = "listed" in request.node.name
    assert (followed.asked["GET"], followed.asked["WATCH"]) == ((1, 2) if listed else (0, 1))


async def test_what_went_while_nobody_watched_is_gone_and_what_is_more_than_a_page_is_whole(followed):
    await asyncio.gather(*(followed.make(f"m-{number}", "old") for number in range(MANY)))
    async with followed.running():
        assert len(followed.here()) == MANY
    await followed.client.delete(f"{followed.path}/m-0")
    await followed.make("new", "new")
    followed.reflector._version = "1"  # which no server remembers: 410
    followed.reflector.synced.clear()
    async with followed.running():
        found = followed.here()
        assert len(found) == MANY
        assert ("m-0" in found, found["new"]) == (False, "new")

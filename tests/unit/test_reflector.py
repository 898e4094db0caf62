"""How long a reflector waits before it asks again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import pytest

from paceline.kube import reflector
from paceline.kube.reflector import BACKOFF_MAX_SECONDS, INITIAL_EVENTS_END, Reflector, Store

TOLD = {
    "type": "BOOKMARK",
    "object": {"metadata": {"resourceVersion": "7", "annotations": {INITIAL_EVENTS_END: "true"}}},
}


@dataclass(frozen=True)
class Nothing:
    resource_version: int


class Breaking:
    """An API server whose watches break, after a sign of life or without one: ``lives``."""

    def __init__(self, lives):
        self._lives = iter(lives)

    async def watch(self, path, seconds, **params):
        if next(self._lives):
            yield TOLD
        raise aiohttp.ClientPayloadError("cut")


@pytest.fixture
def pauses(monkeypatch):
    """Those that were asked for, none of which is made; the reflector's own numbers are not drawn."""
    asked = []

    async def sleep(seconds):
        asked.append(seconds)

    monkeypatch.setattr(reflector.asyncio, "sleep", sleep)
    monkeypatch.setattr(reflector.random, "random", lambda: 0.5)
    return asked


def follow(lives):
    reflected = Reflector(Breaking(lives), "/things", Store(lambda before, after: None), lambda obj: Nothing(1))
    with pytest.raises(RuntimeError, match="StopIteration"):  # no more lives
        asyncio.run(reflected.run())


def test_it_waits_longer_and_longer_while_there_is_no_sign_of_life(pauses):
    follow([False] * 7)
    assert pauses == [0.5, 1, 2, 4, 8, BACKOFF_MAX_SECONDS, BACKOFF_MAX_SECONDS]


def test_a_watch_that_has_worked_is_made_again_at_once_whatever_was_before(pauses):
    follow([False] * 7 + [True] * 3 + [False] * 2)
    assert pauses[7:] == [0.5, 0.5, 0.5, 1, 2]

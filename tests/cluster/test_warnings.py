"""The newest warning of each pod, and how seldom the API server is asked for it."""

from __future__ import annotations

import asyncio
from collections import Counter

from paceline.controller.warnings import FRESH_FOLD, FRESH_SECONDS, PodWarnings
from paceline.kube import config
from paceline.kube.client import Client


def event(n: int, uid: str, reason: str, at: str, of: str = "Warning", kind: str = "Pod") -> dict:
    return {
        "metadata": {"name": f"e{n}"},
        "involvedObject": {"kind": kind, "name": "p", "uid": uid},
        "type": of,
        "reason": reason,
        "message": "no such secret",
        "lastTimestamp": f"2026-01-01T00:00:{at}Z",
    }


EVENTS = [
    event(1, "a", "FailedMount", "20"),
    event(2, "a", "FailedAttach", "10"),
    event(3, "b", "FailedMount", "30", of="Normal"),
    event(4, "c", "FailedMount", "40", kind="Node"),
    event(5, "d", "FailedCreatePodSandBox", "50"),
]


def test_all_pods_of_a_namespace_share_a_list(namespace):
    asked, now = Counter[str](), [100.0]

    async def main():
        client = Client(config.load(), lambda verb, code: asked.update([verb]))
        try:
            for one in EVENTS:
                one["involvedObject"]["namespace"] = namespace
                await client.create(f"/api/v1/namespaces/{namespace}/events", one)
            warnings = PodWarnings(client, lambda: now[0])
            said = await asyncio.gather(*(warnings.newest(namespace, uid) for uid in "abcd" * 20))
            assert said[:4] == ["FailedMount: no such secret", "", "", "FailedCreatePodSandBox: no such secret"]
            assert said == said[:4] * 20
            assert asked["GET"] == 1
            later = event(6, "b", "Later", "55") | {
                "involvedObject": {"kind": "Pod", "uid": "b", "namespace": namespace}
            }
            await client.create(f"/api/v1/namespaces/{namespace}/events", later)
            now[0] += FRESH_SECONDS
            assert await warnings.newest(namespace, "b") == "Later: no such secret"
            assert asked["GET"] == 2
            assert await warnings.newest("no-such-namespace", "b") == ""
        finally:
            await client.close()

    asyncio.run(main())


def test_a_list_that_takes_long_is_asked_for_seldom(namespace):
    asked, now = Counter[str](), [100.0]

    def answered(verb: str, _code: str) -> None:
        asked.update([verb])
        now[0] += 2

    async def main():
        client = Client(config.load(), answered)
        try:
            warnings = PodWarnings(client, lambda: now[0])
            await warnings.newest(namespace, "a")
            for seconds, lists in ((2, 1), (FRESH_SECONDS, 1), (2 * FRESH_FOLD - 1, 1), (2 * FRESH_FOLD, 2)):
                now[0] = 100.0 + seconds
                await warnings.newest(namespace, "a")
                assert asked["GET"] == lists, seconds
        finally:
            await client.close()

    asyncio.run(main())


def test_whoever_is_cancelled_takes_the_list_from_nobody(namespace):
    async def main():
        client = Client(config.load())
        try:
            warnings = PodWarnings(client, lambda: 0.0)
            first, second = (asyncio.create_task(warnings.newest(namespace, "a")) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            assert await second == ""
        finally:
            await client.close()

    asyncio.run(main())

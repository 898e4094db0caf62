"""Requests to the API server: JSON in, JSON out, errors as what the server said."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson

from paceline.kube.config import Cluster
from paceline.kube.slots import Slots

Json = dict[str, Any]
# Told of every answered request: (verb, status code).
Observer = Callable[[str, int], None]

MERGE_PATCH = "application/merge-patch+json"
# Requests at once, where the API server takes as many: it makes 450-560 pods a second over 32 connections and 150 over one.
CONNECTIONS = 32
REQUEST_TIMEOUT_SECONDS = 30
# Tries of one request while the server says 429, or the network says nothing.
TRIES = 4


class ApiError(Exception):
    """The API server said no: ``code`` is the HTTP status, ``reason`` Kubernetes' word for it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message = code, reason, message

    @property
    def namespace_going(self) -> bool:
        """Nothing can be made in its namespace any more, which is being deleted, and that cannot be taken back."""
        return self.code == 403 and "being terminated" in self.message


class Client:
    def __init__(
        self, cluster: Cluster, observer: Observer = lambda verb, code: None, at_once: int = CONNECTIONS
    ) -> None:
        """``at_once``: requests, of which there are fewer while the API server refuses."""
        self._cluster, self._observe = cluster, observer
        connector = aiohttp.TCPConnector(ssl=cluster.ssl_context(), limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(base_url=cluster.server, connector=connector)
        self._slots = Slots(at_once)

    async def close(self) -> None:
        await self._session.close()

    async def get(self, path: str, **params: str) -> Json:
        return await self._request("GET", path, params=params)

    async def create(self, path: str, body: Json) -> Json:
        return await self._request("POST", path, body=body)

    async def replace(self, path: str, body: Json) -> Json:
        return await self._request("PUT", path, body=body)

    async def merge_patch(self, path: str, body: Json) -> Json:
        return await self._request("PATCH", path, body=body, content_type=MERGE_PATCH)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        return await self._request("DELETE", path, body=body)

    async def _request(
        self,
        verb: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One request; a 429 is repeated after the Retry-After that the server asks for. Raises ApiError, ClientError."""
        data = None if body is None else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        for last in (False,) * (TRIES - 1) + (True,):
            async with (
                self._slots as when,
                self._session.request(
                    verb, path, params=params, data=data, headers=self._headers(content_type), timeout=timeout
                ) as answer,
            ):
                self._observe(verb, answer.status)
                if answer.status == 429:
                    self._slots.refused(when)
                else:
                    self._slots.served()
                if answer.status < 300:
                    result: Json = orjson.loads(await answer.read())
                    return result
                error = await _error(answer)
                pause = float(answer.headers.get("Retry-After", "1"))
            if error.code != 429 or last:
                raise error
            await asyncio.sleep(pause + random.random())
        raise AssertionError("unreachable")

    async def watch(self, path: str, timeout_seconds: int, **params: str) -> AsyncIterator[Json]:
        """Events of a watch, until the server ends it. Raises ApiError (410: list again), ClientError, TimeoutError."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_seconds), **params}
        async for line in self.lines(path, read_timeout=timeout_seconds + 15, **query):
            event: Json = orjson.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise ApiError(status.get("code", 500), status.get("reason", ""), status.get("message", ""))
            yield event

    async def lines(self, path: str, *, read_timeout: float | None = None, **params: str) -> AsyncIterator[bytes]:
        """Lines of a streamed answer (a watch, a followed log). Outside the slots: streams stay open."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=read_timeout)
        # Watches of objects with many fields exceed aiohttp's default line limit of 64 KiB.
        async with self._session.get(
            path, params=params, headers=self._headers(), timeout=timeout, read_bufsize=2**20
        ) as answer:
            self._observe("WATCH" if "watch" in params else "GET", answer.status)
            if answer.status >= 300:
                raise await _error(answer)
            rest = b""
            async for chunk in answer.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if line:
                        yield line
            if rest:
                yield rest

    def _headers(self, content_type: str = "application/json") -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "paceline"}
        if token := self._cluster.bearer():
            headers["Authorization"] = f"Bearer {token}"
        return headers


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    text = await answer.text()
    try:
        status = orjson.loads(text)
        return ApiError(answer.status, status.get("reason", ""), status.get("message", text))
    except (ValueError, AttributeError):
        return ApiError(answer.status, answer.reason or "", text[:500])

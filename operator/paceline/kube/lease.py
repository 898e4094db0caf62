"""Leader election by a coordination.k8s.io Lease, with client-go's timings."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp

from paceline.kube.client import ApiError, Client, Json

log = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_WITHIN_SECONDS = 10
RETRY_SECONDS = 2


class LeadershipLostError(Exception):
    """Another process may lead by now: this one must end at once."""


class Lease:
    def __init__(
        self, client: Client, namespace: str, name: str, identity: str, monotonic: Callable[[], float]
    ) -> None:
        self._client, self._identity, self._monotonic = client, identity, monotonic
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name, self._namespace = name, namespace
        # What another holder last wrote, and when we saw it first, by our own clock: clocks of machines differ.
        self._seen: tuple[Any, float] = (None, 0.0)

    async def acquire(self) -> None:
        """Returns once this process leads."""
        while not await self._try():
            await asyncio.sleep(RETRY_SECONDS)
        log.info("leading", extra={"lease": self._name, "identity": self._identity})

    async def hold(self) -> None:
        """Renews until that fails for too long; then raises LeadershipLostError."""
        renewed = self._monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if await self._try():
                renewed = self._monotonic()
            elif self._monotonic() - renewed > RENEW_WITHIN_SECONDS:
                raise LeadershipLostError(
                    f"lease {self._namespace}/{self._name} was not renewed in {RENEW_WITHIN_SECONDS} s"
                )

    async def release(self) -> None:
        """Lets a standby take over at once, instead of after the lease has run out."""
        try:
            lease = await self._client.get(f"{self._path}/{self._name}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.replace(f"{self._path}/{self._name}", lease)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("lease not released: %s", error)

    async def _try(self) -> bool:
        try:
            return await asyncio.wait_for(self._take(), RENEW_WITHIN_SECONDS / 2)
        except ApiError as error:
            if error.code != 409:  # 409: another one was quicker
                log.warning("lease: %s", error)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("lease: %r", error)
        return False

    async def _take(self) -> bool:
        try:
            lease = await self._client.get(f"{self._path}/{self._name}")
        except ApiError as error:
            if error.code != 404:
                raise
            await self._client.create(self._path, self._lease(None))
            return True
        spec = lease["spec"]
        if spec.get("holderIdentity") not in (self._identity, "", None) and not self._expired(spec):
            return False
        await self._client.replace(f"{self._path}/{self._name}", self._lease(lease))
        return True

    def _expired(self, spec: Json) -> bool:
        version = (spec.get("holderIdentity"), spec.get("renewTime"))
        if version != self._seen[0]:
            self._seen = (version, self._monotonic())
        return self._monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)

    def _lease(self, old: Json | None) -> Json:
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = old["spec"] if old else {}
        mine = before.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            # The resource version makes the take-over exclusive: of two that try, one gets a 409.
            "metadata": old["metadata"] if old else {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": before.get("acquireTime") if mine else now,
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if mine else 1),
            },
        }

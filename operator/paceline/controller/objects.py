"""What the operator does to an object of its own kinds: its status, its end, and the events that tell of it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from paceline.api import API_VERSION, COMPRESSION_KIND, COMPRESSION_PLURAL, KIND, PLURAL
from paceline.api.trainingjob import Metadata
from paceline.kube.client import ApiError, Client, Json
from paceline.plan.actions import Announce

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    plural: str

    def path(self, meta: Metadata) -> str:
        return f"/apis/{API_VERSION}/namespaces/{meta.namespace}/{self.plural}/{meta.name}"


TRAINING_JOB = Kind(KIND, PLURAL)
COMPRESSION_JOB = Kind(COMPRESSION_KIND, COMPRESSION_PLURAL)


class Objects:
    def __init__(
        self, client: Client, kind: Kind, clock: Callable[[], float], announced: Callable[[str], None]
    ) -> None:
        """``announced(reason)`` is told of every event."""
        self._client, self._kind, self._clock, self._announced = client, kind, clock, announced

    async def patch_status(self, meta: Metadata, patch: Json) -> Json:
        # The uid makes sure that a namesake, made since, is not taken for this object; the version, that the patch meets the
        # status it was made from. After a write whose answer was lost, half of either ledger would be left.
        same = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        return await self._client.merge_patch(f"{self._kind.path(meta)}/status", {"metadata": same, "status": patch})

    async def delete(self, meta: Metadata) -> None:
        options = {"propagationPolicy": "Background", "preconditions": {"uid": meta.uid}}
        await gone_is_fine(self._client.delete(self._kind.path(meta), options))

    async def announce(self, meta: Metadata, event: Announce) -> None:
        """A Kubernetes event. Losing one harms nothing: it is logged, and the plan goes on."""
        self._announced(event.reason)
        moment = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        regarding = {
            "apiVersion": API_VERSION,
            "kind": self._kind.name,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        }
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": meta.namespace},
            "regarding": regarding,
            "action": event.reason,
            "reason": event.reason,
            "note": event.message[:1000],
            "type": event.type,
            "eventTime": moment,
            "reportingController": "paceline.dev/operator",
            "reportingInstance": "paceline-operator",
        }
        try:
            await self._client.create(f"/apis/events.k8s.io/v1/namespaces/{meta.namespace}/events", body)
        except ApiError as error:
            log.warning("event %s not written: %s", event.reason, error, extra={"job": f"{meta.namespace}/{meta.name}"})


async def gone_is_fine(call: Awaitable[Any]) -> Json | None:
    """The answer; None where the object is gone, or another one of that name is there by now."""
    try:
        answer: Json = await call
        return answer
    except ApiError as error:
        if error.code in (404, 409):
            return None
        raise

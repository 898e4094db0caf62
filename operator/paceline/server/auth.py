"""Who reports? A pod of the job itself, by a projected token that the API server vouches for."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from paceline.kube.client import Client
from paceline.kube.reflector import Store
from paceline.plan.observed import PodRecord
from paceline.render.names import token_audience

# A reviewed token is believed for so long, and a refused one refused: one review for many reports.
BELIEVE_SECONDS = 300.0
CACHE_SIZE = 16384
_POD_NAME, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"


class Authenticator:
    def __init__(self, client: Client, pods: Store[PodRecord], clock: Callable[[], float]) -> None:
        """``clock`` in seconds."""
        self._client, self._pods, self._clock = client, pods, clock
        # sha256(token, audience) -> (pod key and uid, or None for a refused one; when reviewed)
        self._known: OrderedDict[bytes, tuple[tuple[str, str] | None, float]] = OrderedDict()

    async def allows(self, token: str, namespace: str, job_uid: str) -> bool:
        """Is this the token of a living pod of this job? Raises ApiError when the API server cannot say."""
        pod = await self._pod_of(token, namespace, token_audience(job_uid))
        if pod is None:
            return False
        record = self._pods.get(pod[0])
        return record is not None and record.uid == pod[1] and record.job_uid == job_uid

    async def _pod_of(self, token: str, namespace: str, audience: str) -> tuple[str, str] | None:
        digest = hashlib.sha256(f"{audience}\0{token}".encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() - known[1] < BELIEVE_SECONDS:
            return known[0]
        pod = await self._review(token, namespace, audience)
        self._known[digest] = (pod, self._clock())
        self._known.move_to_end(digest)
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return pod

    async def _review(self, token: str, namespace: str, audience: str) -> tuple[str, str] | None:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        status = (await self._client.create("/apis/authentication.k8s.io/v1/tokenreviews", review))["status"]
        user = status.get("user") or {}
        if not status.get("authenticated") or audience not in (status.get("audiences") or []):
            return None
        if not str(user.get("username", "")).startswith(f"system:serviceaccount:{namespace}:"):
            return None
        extra = user.get("extra") or {}
        if not extra.get(_POD_NAME) or not extra.get(_POD_UID):
            return None  # a token that is bound to no pod
        return f"{namespace}/{extra[_POD_NAME][0]}", extra[_POD_UID][0]

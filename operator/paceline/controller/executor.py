"""Carries out actions: renders, sends in parallel, and puts the answers into the caches before the watch brings them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from paceline.api import TRAINER_CONTAINER
from paceline.api.trainingjob import TrainingJob
from paceline.controller import records
from paceline.controller.objects import TRAINING_JOB, Objects, gone_is_fine
from paceline.controller.warnings import PodWarnings
from paceline.kube.client import ApiError, Client, Json
from paceline.kube.reflector import Store
from paceline.plan.actions import (
    Action,
    Announce,
    CreateRendezvous,
    CreateWorker,
    DeleteJob,
    DeletePod,
    ReadEvents,
    ReadLog,
)
from paceline.plan.observed import PodRecord
from paceline.render import guards
from paceline.render import pods as render
from paceline.render.pods import Installation

log = logging.getLogger(__name__)

# How much of a failed pod's log is read, and how long its kubelet may be silent meanwhile.
LOG_LINES, LOG_BYTES, LOG_SECONDS = 200, 65536, 5
# Where the API server takes each kind.
ROOTS = {
    "Pod": ("/api/v1", "pods"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
}
# A refusal that lies in what the user wrote (or may have), not in the moment: invalid, forbidden by quota or policy.
USERS_OWN = (400, 403, 422)


class RefusedError(Exception):
    """The API server refused a pod as the template makes it, or what guards the gang. The message is the server's."""


class NamespaceGoingError(Exception):
    """The namespace is being deleted, and the job with it: nothing can be made in it any more."""


class Executor:
    def __init__(
        self,
        client: Client,
        pods: Store[PodRecord],
        here: Installation,
        clock: Callable[[], float],
        announced: Callable[[str], None],
    ) -> None:
        """``announced(reason)`` is told of every event."""
        self._client, self._pods, self._here, self._clock = client, pods, here, clock
        self._own = Objects(client, TRAINING_JOB, clock, announced)
        # Ends of logs that were asked for, by pod uid; the controller forgets those of pods that are gone.
        self.logs: dict[str, str] = {}
        # The same of events: when they were read, and the newest warning.
        self._pod_warnings = PodWarnings(client, clock)
        self.warnings: dict[str, tuple[float, str]] = {}

    async def run(self, job: TrainingJob, actions: Sequence[Action]) -> None:
        """All actions but events at once. Raises when all have ended: NamespaceGoingError, RefusedError or the first error."""
        results = await asyncio.gather(*(self._do(job, action) for action in actions), return_exceptions=True)
        errors = [r for r in results if isinstance(r, BaseException)]
        for kind in (NamespaceGoingError, RefusedError, BaseException):
            for error in errors:
                if isinstance(error, kind):
                    raise error

    async def tell(self, job: TrainingJob, actions: Sequence[Action]) -> None:
        """The events, once the status that they are about is written: a write that is refused is decided upon again."""
        told = (self._own.announce(job.metadata, action) for action in actions if isinstance(action, Announce))
        await asyncio.gather(*told)

    async def patch_status(self, job: TrainingJob, patch: Json) -> Json:
        return await self._own.patch_status(job.metadata, patch)

    async def _do(self, job: TrainingJob, action: Action) -> None:
        namespace = f"/api/v1/namespaces/{job.metadata.namespace}"
        match action:
            case CreateWorker():
                body = render.worker(
                    job,
                    self._here,
                    attempt=action.attempt,
                    index=action.index,
                    replacement=action.replacement,
                    nnodes=action.nnodes,
                    avoid=action.avoid,
                )
                await self._create_pod(body)
            case CreateRendezvous():
                await asyncio.gather(self._create(f"{namespace}/services", render.service(job)), self._guard(job))
                # Its pod comes last: as long as it is missing, all of this is done again.
                await self._create_pod(render.rendezvous(job, self._here, action.avoid))
            case DeletePod():
                await self._delete_pod(f"{namespace}/pods/{action.name}", action)
            case ReadLog():
                self.logs[action.uid] = await self._log(f"{namespace}/pods/{action.name}/log")
            case ReadEvents():
                said = await self._pod_warnings.newest(job.metadata.namespace, action.uid)
                self.warnings[action.uid] = self._clock(), said
            case DeleteJob():
                await self._own.delete(job.metadata)
            case Announce():
                pass  # told when the status is written

    async def _guard(self, job: TrainingJob) -> None:
        """What stands around the gang, as far as this installation wants it."""
        wanted: list[Json] = []
        if self._here.fence is not None:
            wanted.append(guards.network_policy(job, self._here.fence))
        if self._here.disruption_budgets and (budget := guards.disruption_budget(job)):
            wanted.append(budget)
        await asyncio.gather(*(self._create_or_refuse(body) for body in wanted))

    async def _create_pod(self, body: Json) -> None:
        answer = await self._create_or_refuse(body)
        record = records.pod(answer) if answer else None
        if record:
            self._pods.put_own(f"{record.namespace}/{record.name}", record)

    async def _create_or_refuse(self, body: Json) -> Json | None:
        """As _create; a refusal that may be the user's to mend (a quota, a policy) is told in the job's status."""
        root, plural = ROOTS[body["kind"]]
        try:
            return await self._create(f"{root}/namespaces/{body['metadata']['namespace']}/{plural}", body)
        except ApiError as error:
            if error.code in USERS_OWN:
                what = f"{body['kind'].lower()} {body['metadata']['name']}"
                raise RefusedError(f"{what} was refused: {error.message}") from error
            raise

    async def _create(self, path: str, body: Json) -> Json | None:
        """The created object, or None where it exists already: names are deterministic, so it is the same one."""
        try:
            return await self._client.create(path, body)
        except ApiError as error:
            if error.code == 409:
                return None
            if error.code == 404:
                return None  # the namespace is gone, and the job with it
            if error.namespace_going:
                raise NamespaceGoingError(error.message) from error
            raise

    async def _delete_pod(self, path: str, action: DeletePod) -> None:
        options: dict[str, Any] = {"preconditions": {"uid": action.uid}}
        if action.grace_seconds is not None:
            options["gracePeriodSeconds"] = action.grace_seconds
        answer = await gone_is_fine(self._client.delete(path, options))
        record = records.pod(answer) if answer and answer.get("kind") == "Pod" else None
        if record:
            self._pods.put_own(f"{record.namespace}/{record.name}", record)

    async def _log(self, path: str) -> str:
        """The end of the training container's log; empty where it cannot be had: the answer to a failure must not hang on it."""
        query = {"container": TRAINER_CONTAINER, "tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
        try:
            lines = [line async for line in self._client.lines(path, read_timeout=LOG_SECONDS, **query)]
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("log not read: %s", error)
            return ""
        return b"\n".join(lines).decode(errors="replace")

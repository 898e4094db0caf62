"""CompressionJobs: a key is an object; what happens to its TrainingJobs, or to the one it is made from, brings it back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from paceline.api import API_VERSION, PLURAL
from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.controller.controller import merge_patch
from paceline.controller.executor import USERS_OWN
from paceline.controller.metrics import Metrics
from paceline.controller.objects import COMPRESSION_JOB, Objects, gone_is_fine
from paceline.controller.queue import Queue
from paceline.controller.workers import work
from paceline.cost.prices import Machine
from paceline.kube.client import ApiError, Client, Json
from paceline.plan.actions import Announce, DeleteJob
from paceline.plan.compression.children import LABEL_COMPRESSION_UID
from paceline.plan.compression.reconcile import REFUSED_RETRY_SECONDS, plan
from paceline.plan.compression.seen import CompressionAction, CreateChild, DeleteChild, PatchChild, Seen
from paceline.plan.recipes import Catalogue

log = logging.getLogger(__name__)

# There are few of them, and each waits for its TrainingJobs most of the time.
WORKERS = 8


@dataclass
class Entry:
    job: CompressionJob
    refused: str = ""
    refused_at: float = 0.0


class CompressionController:
    def __init__(
        self,
        client: Client,
        recipes: Catalogue,
        methods: Catalogue,
        trainer_image: str,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._recipes, self._methods, self._trainer_image = client, recipes, methods, trainer_image
        self._metrics, self._clock = metrics, clock
        self.queue = Queue(time.monotonic, metrics.queue_adds.inc)
        self._own = Objects(client, COMPRESSION_JOB, clock, metrics.announced)
        self._jobs: dict[str, Entry] = {}  # by namespace/name
        # All TrainingJobs by key: a CompressionJob that is made from one of them may come later.
        self._sources: dict[str, TrainingJob] = {}
        # Children by the uid of their CompressionJob: they may be seen before it.
        self._children: dict[str, dict[str, TrainingJob]] = {}
        # TrainingJobs whose end the watch has not told yet, by uid.
        self._deleted: set[str] = set()
        # CompressionJobs by uid, and by the key of the TrainingJob that they are made from.
        self._keys: dict[str, str] = {}
        self._made_from: dict[str, set[str]] = {}
        self._books: dict[str, list[Machine]] = {}

    def jobs(self) -> list[CompressionJob]:
        return [entry.job for entry in list(self._jobs.values())]  # a copy: metrics are read from another thread

    # -- events in -------------------------------------------------------------------------------------------------

    def job_event(self, obj: Json, *, deleted: bool) -> None:
        meta = obj["metadata"]
        key = f"{meta['namespace']}/{meta['name']}"
        if deleted:
            self._forget(key)
            return
        try:
            self._keep(CompressionJob.parse(obj))
        except ValidationError as error:  # only an object stored under an older schema can be invalid
            log.error("compression job is not of this schema: %s", error, extra={"job": key})
            return
        self.queue.add(key)

    def training_job_changed(self, key: str, uid: str, job: TrainingJob | None) -> None:
        """Of any TrainingJob; None when it is gone."""
        before = self._sources.get(key)
        if job is None:
            if before is not None and before.metadata.uid == uid:
                del self._sources[key]
            self._deleted.discard(uid)
        else:
            self._sources[key] = job
        some = job or before
        owner = some.metadata.labels.get(LABEL_COMPRESSION_UID) if some else None
        if some is not None and owner:
            mine = self._children.setdefault(owner, {})
            if job is not None:
                mine[job.metadata.name] = job
            elif (known := mine.get(some.metadata.name)) is not None and known.metadata.uid == uid:
                del mine[some.metadata.name]
            if not mine:
                del self._children[owner]
        for own_key in {self._keys.get(owner or ""), *self._made_from.get(key, ())} - {None}:
            self.queue.add(str(own_key))

    def use_books(self, books: dict[str, list[Machine]]) -> None:
        self._books = books
        for key in self._jobs:
            self.queue.add(key)

    def _keep(self, job: CompressionJob) -> None:
        """The newer of two versions: the answer to our own patch may be ahead of the watch."""
        entry = self._jobs.get(job.key)
        if entry is None or entry.job.metadata.uid != job.metadata.uid:
            self._forget(job.key)
            self._jobs[job.key] = Entry(job)
            self._keys[job.metadata.uid] = job.key
        elif int(job.metadata.resource_version) >= int(entry.job.metadata.resource_version):
            if job.metadata.generation != entry.job.metadata.generation:
                entry.refused = ""
            entry.job = job
        self._made_from.setdefault(self._source_key(job), set()).add(job.key)

    def _forget(self, key: str) -> None:
        entry = self._jobs.pop(key, None)
        self.queue.forget(key)
        if entry is not None:
            self._keys.pop(entry.job.metadata.uid, None)
            others = self._made_from.get(self._source_key(entry.job), set())
            others.discard(key)
            if not others:
                self._made_from.pop(self._source_key(entry.job), None)

    @staticmethod
    def _source_key(job: CompressionJob) -> str:
        ref = job.spec.source.training_job_ref
        return f"{job.metadata.namespace}/{ref.name}" if ref else ""

    # -- the work --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        await work(self.queue, self._metrics, self._reconcile, WORKERS)

    async def _reconcile(self, key: str) -> None:
        entry = self._jobs.get(key)
        if entry is None:
            return
        job, now = entry.job, self._clock()
        if entry.refused and now >= entry.refused_at + REFUSED_RETRY_SECONDS:
            entry.refused = ""
        decided = plan(job, await self._observe(entry), now)
        for action in decided.actions:
            log.info("%s", action, extra={"job": key})
        await self._run(entry, decided.actions)
        patch = merge_patch(job.status.wire(), decided.status.wire())
        if patch:
            try:
                answer = await self._own.patch_status(job.metadata, patch)
            except ApiError as error:
                if error.code in (404, 409):  # deleted or changed meanwhile: the watch will tell
                    return
                raise
            self._keep(CompressionJob.parse(answer))
        told = (self._own.announce(job.metadata, a) for a in decided.actions if isinstance(a, Announce))
        await asyncio.gather(*told)
        if decided.wake_at is not None:
            self.queue.add_after(key, decided.wake_at - self._clock())

    async def _observe(self, entry: Entry) -> Seen:
        job = entry.job
        children = {
            name: child
            for name, child in self._children.get(job.metadata.uid, {}).items()
            if child.metadata.uid not in self._deleted and child.metadata.deletion_timestamp is None
        }
        return Seen(
            source=await self._source(job),
            children=children,
            recipes=self._recipes,
            methods=self._methods,
            trainer_image=self._trainer_image,
            books=self._books,
            refused=entry.refused,
        )

    async def _source(self, job: CompressionJob) -> TrainingJob | None:
        """One that is not known is asked for: after a start the watch may not have told of it yet."""
        key = self._source_key(job)
        if not key or key in self._sources:
            return self._sources.get(key)
        namespace, name = key.split("/")
        found = await gone_is_fine(self._client.get(f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}"))
        return TrainingJob.parse(found) if found else None

    async def _run(self, entry: Entry, actions: Sequence[CompressionAction]) -> None:
        results = await asyncio.gather(*(self._do(entry, action) for action in actions), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]

    async def _do(self, entry: Entry, action: CompressionAction) -> None:
        root = f"/apis/{API_VERSION}/namespaces/{entry.job.metadata.namespace}/{PLURAL}"
        match action:
            case CreateChild():
                await self._create(entry, root, action)
            case PatchChild():
                body = {"metadata": {"uid": action.uid}, "spec": action.spec}
                await gone_is_fine(self._client.merge_patch(f"{root}/{action.name}", body))
            case DeleteChild():
                options = {"propagationPolicy": "Background", "preconditions": {"uid": action.uid}}
                await gone_is_fine(self._client.delete(f"{root}/{action.name}", options))
                self._deleted.add(action.uid)
            case DeleteJob():
                await self._own.delete(entry.job.metadata)
            case Announce():
                pass  # told when the status is written

    async def _create(self, entry: Entry, root: str, action: CreateChild) -> None:
        try:
            await self._client.create(root, action.manifest)
        except ApiError as error:
            if error.code == 409:
                return  # names follow from what is asked for: it is the same one, or the one before it that is ending
            if error.code == 404 or error.namespace_going:
                return  # the namespace is going, and the job with it
            if error.code not in USERS_OWN:
                raise
            entry.refused = f"tj/{action.name} was refused: {error.message}"
            entry.refused_at = self._clock()
            self.queue.add(entry.job.key)

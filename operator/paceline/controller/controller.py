"""The loop: events become keys, a worker takes a key, observes the caches, plans, executes, patches the status once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from paceline.api.status import Phase, TrainingJobStatus
from paceline.api.trainingjob import TrainingJob
from paceline.controller.executor import Executor, NamespaceGoingError, RefusedError
from paceline.controller.metrics import Metrics
from paceline.controller.queue import Queue
from paceline.controller.utilization import noticeable
from paceline.controller.workers import work
from paceline.cost.prices import Machine
from paceline.kube.client import ApiError, Client, Json
from paceline.kube.reflector import Store
from paceline.plan.actions import ReadEvents, ReadLog
from paceline.plan.observed import Measured, NodeRecord, Observed, PodRecord, Report
from paceline.plan.pace import company, patience, report_every
from paceline.plan.recipes import Catalogue
from paceline.plan.reconcile import REFUSED_RETRY_SECONDS, plan
from paceline.plan.urgency import comes_up, may_wait
from paceline.render.pods import Installation

log = logging.getLogger(__name__)

STARTING = (Phase.PENDING, Phase.STARTING, Phase.RECOVERING)


@dataclass
class Entry:
    """What is kept of one job besides its pods."""

    job: TrainingJob
    report: Report | None = None
    refused: str = ""
    refused_at: float = 0.0
    refused_generation: int = 0
    # Its namespace is being deleted: what is left of it goes, pod by pod, and none is to be replaced.
    going: bool = False
    patched_at: float = 0.0
    # Bound pods that have left the API, by uid, until the status has them in its ledger.
    departed: dict[str, PodRecord] = field(default_factory=dict)
    measured: Measured | None = None
    # The one that the job was last looked at for.
    noticed: Measured | None = None


class Controller:
    def __init__(
        self,
        client: Client,
        here: Installation,
        recipes: Catalogue,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.metrics, self._clock, self._recipes = metrics, clock, recipes
        self._changed: list[Callable[[TrainingJob, Iterable[PodRecord]], None]] = []
        self._gone: list[Callable[[str], None]] = []
        self._jobs_changed: list[Callable[[str, str, TrainingJob | None], None]] = []
        self._reported: list[Callable[[str, Report | None, Report], None]] = []
        self.queue = Queue(time.monotonic, metrics.queue_adds.inc)
        metrics.queue_depth.set_function(lambda: len(self.queue))
        self.pods: Store[PodRecord] = Store(self._pod_changed)
        self.nodes: Store[NodeRecord] = Store(self._node_changed)
        self._executor = Executor(client, self.pods, here, clock, metrics.announced)
        self._jobs: dict[str, Entry] = {}  # by uid
        self._uids: dict[str, str] = {}  # namespace/name -> uid
        self._pods_of: dict[str, dict[str, PodRecord]] = {}  # by job uid
        # job uid -> index -> the worker that is gone, as it was last
        self._gone_of: dict[str, dict[int, PodRecord]] = {}
        # Uids of jobs that have reported and run, and of those that have begun and do not.
        self._reporting: set[str] = set()
        self._starting: set[str] = set()
        self._began = clock()
        self._books: dict[str, list[Machine]] = {}

    def on_change(self, told: Callable[[TrainingJob, Iterable[PodRecord]], None]) -> None:
        """``told(job, pods)`` after every reconcile."""
        self._changed.append(told)

    def on_job(self, told: Callable[[str, str, TrainingJob | None], None]) -> None:
        """``told(key, uid, job)`` of every change of a job; None when it is gone."""
        self._jobs_changed.append(told)

    def on_gone(self, told: Callable[[str], None]) -> None:
        """``told(uid)`` when a job is gone."""
        self._gone.append(told)

    def on_report(self, told: Callable[[str, Report | None, Report], None]) -> None:
        """``told(uid, before, after)`` of every report of a job."""
        self._reported.append(told)

    def use_books(self, books: dict[str, list[Machine]]) -> None:
        """New prices, by the name of their book: every job is looked at again."""
        self._books = books
        for entry in self._jobs.values():
            self._added(entry.job.key)

    def use_measured(self, measured: dict[str, Measured]) -> None:
        """The use of jobs' devices, by job uid; of a job that is not in it nothing is known any more."""
        for uid, entry in self._jobs.items():
            entry.measured = measured.get(uid)
            if noticeable(entry.noticed, entry.measured, float(entry.job.spec.cost.idle.utilization_below)):
                entry.noticed = entry.measured
                self._added(entry.job.key)

    # -- events in -------------------------------------------------------------------------------------------------

    def job_event(self, obj: Json, *, deleted: bool) -> None:
        meta = obj["metadata"]
        key, uid = f"{meta['namespace']}/{meta['name']}", meta["uid"]
        if deleted:
            self._forget(key, uid)
            return
        known = self._jobs.get(uid)
        if known is not None and int(meta["resourceVersion"]) <= int(known.job.metadata.resource_version):
            return  # our own write, whose answer came before the watch told of it
        try:
            job = TrainingJob.parse(obj)
        except ValidationError as error:  # only an object stored under an older schema can be invalid
            log.error("job is not of this schema: %s", error, extra={"job": key})
            return
        if self._uids.get(key, uid) != uid:
            self._forget(key, self._uids[key])
        self._uids[key] = uid
        self._keep(uid, job)
        # A thousand jobs that come at once are no reason to let one wait whose worker is lost.
        self._added(key, last=job.status.attempt == 0)

    def report(self, uid: str, report: Report) -> None:
        """Progress of a job, from the progress server or its log."""
        entry = self._jobs.get(uid)
        if entry is not None:
            before, entry.report = entry.report, report
            self._reporting.add(uid)
            for told in self._reported:
                told(uid, before, report)
            self._added(entry.job.key)

    def report_of(self, uid: str) -> Report | None:
        entry = self._jobs.get(uid)
        return entry.report if entry else None

    def report_every(self, job: TrainingJob) -> float:
        """Seconds until a job shall report again."""
        return report_every(len(self._reporting), job.spec.deadlines.stalled_seconds)

    def job_by_key(self, key: str) -> TrainingJob | None:
        entry = self._jobs.get(self._uids.get(key, ""))
        return entry.job if entry else None

    def jobs(self) -> list[TrainingJob]:
        return [entry.job for entry in list(self._jobs.values())]  # a copy: metrics are read from another thread

    def _keep(self, uid: str, job: TrainingJob) -> None:
        """The newer of two versions: the answer to our own patch may be ahead of the watch."""
        entry = self._jobs.get(uid)
        if entry is None:
            self._jobs[uid] = Entry(job)
        elif int(job.metadata.resource_version) >= int(entry.job.metadata.resource_version):
            entry.job = job
        phase = self._jobs[uid].job.status.phase
        if phase != Phase.RUNNING:
            self._reporting.discard(uid)
        (self._starting.add if phase in STARTING else self._starting.discard)(uid)
        for told in self._jobs_changed:
            told(job.key, uid, self._jobs[uid].job)

    def _forget(self, key: str, uid: str) -> None:
        self._jobs.pop(uid, None)
        self._reporting.discard(uid)
        self._starting.discard(uid)
        self._gone_of.pop(uid, None)
        if self._uids.get(key) == uid:
            del self._uids[key]
        self.queue.forget(key)
        for told in self._gone:
            told(uid)
        for job_told in self._jobs_changed:
            job_told(key, uid, None)

    def _pod_changed(self, before: PodRecord | None, after: PodRecord | None) -> None:
        pod = after or before
        assert pod is not None
        mine = self._pods_of.setdefault(pod.job_uid, {})
        if before is not None and (after is None or after.uid != before.uid):
            mine.pop(before.uid, None)
            self._remember(before)
            self._executor.logs.pop(before.uid, None)
            self._executor.warnings.pop(before.uid, None)
        if after is not None:
            mine[after.uid] = after
        if not mine:
            del self._pods_of[pod.job_uid]
        key = f"{pod.namespace}/{pod.job_name}"
        if comes_up(after) and key in self._uids:
            self.queue.add_after(key, company(len(self._starting)))
        else:
            self._added(key)

    def _remember(self, pod: PodRecord) -> None:
        entry = self._jobs.get(pod.job_uid)
        if entry is not None and pod.scheduled_at is not None:
            entry.departed[pod.uid] = replace(pod, ended_at=pod.ended_at or self._clock())
        if pod.role != "worker" or pod.job_uid not in self._jobs:
            return
        gone = self._gone_of.setdefault(pod.job_uid, {})
        newest = max((p.attempt for p in gone.values()), default=pod.attempt)
        if pod.attempt > newest:
            gone.clear()
        if pod.attempt >= newest:
            gone[pod.index] = pod

    def _node_changed(self, before: NodeRecord | None, after: NodeRecord | None) -> None:
        if before and after and (before.ready, before.taints, before.host) == (after.ready, after.taints, after.host):
            return
        node = after or before
        assert node is not None
        for pod in self.pods.values():
            if pod.node == node.name:
                self._added(f"{pod.namespace}/{pod.job_name}")

    def _added(self, key: str, *, last: bool = False) -> None:
        if key in self._uids:
            self.queue.add(key, last=last)

    # -- the work --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        await work(self.queue, self.metrics, self._reconcile)

    async def _reconcile(self, key: str) -> None:
        entry = self._jobs.get(self._uids.get(key, ""))
        if entry is None or entry.going:
            return
        job, now = entry.job, self._clock()
        self._expire_refusal(entry, now)
        seen = self._observe(entry)
        decided = plan(job, seen, now, self._recipes)
        try:
            await self._executor.run(job, decided.actions)
        except NamespaceGoingError as error:
            entry.going = True
            log.info("%s", error, extra={"job": key})
            return
        except RefusedError as error:
            entry.refused, entry.refused_at, entry.refused_generation = str(error), now, job.metadata.generation
            log.warning("%s", error, extra={"job": key})
            seen = self._observe(entry)
            decided = plan(job, seen, now, self._recipes)
        for action in decided.actions:
            log.info("%s", action, extra={"job": key})
        if any(isinstance(action, ReadLog | ReadEvents) for action in decided.actions):
            self.queue.add(key)  # what was read changes the plan
        if await self._patch(entry, job, decided.status, seen.departed):
            await self._executor.tell(job, decided.actions)
        if decided.wake_at is not None:
            self.queue.add_after(key, decided.wake_at - self._clock())
        for told in self._changed:
            told(job, self._pods_of.get(job.metadata.uid, {}).values())

    def _observe(self, entry: Entry) -> Observed:
        pods = tuple(self._pods_of.get(entry.job.metadata.uid, {}).values())
        departed = tuple(entry.departed.values())
        nodes = {p.node: node for p in (*pods, *departed) if (node := self.nodes.get(p.node))}
        logs = {p.uid: text for p in pods if (text := self._executor.logs.get(p.uid)) is not None}
        warnings = {p.uid: said for p in pods if (said := self._executor.warnings.get(p.uid)) is not None}
        return Observed(
            pods,
            nodes,
            logs,
            entry.report,
            watching_since=self._began,
            refused=entry.refused,
            gone=tuple(self._gone_of.get(entry.job.metadata.uid, {}).values()),
            warnings=warnings,
            departed=departed,
            measured=entry.measured,
            reporting=len(self._reporting),
            jobs=len(self._pods_of),
            books=self._books,
        )

    def _expire_refusal(self, entry: Entry, now: float) -> None:
        if entry.refused and (
            now >= entry.refused_at + REFUSED_RETRY_SECONDS or entry.job.metadata.generation != entry.refused_generation
        ):
            entry.refused = ""

    async def _patch(
        self, entry: Entry, job: TrainingJob, status: TrainingJobStatus, departed: Iterable[PodRecord]
    ) -> bool:
        """At most one write, and none where nothing changed. ``departed`` are in the status, and forgotten when it is written.
        False where it is not, so that the same will be decided again."""
        # Most reconciles change nothing, and models compare ten times as fast as they are written out (ADR 13).
        patch = {} if status == job.status else merge_patch(job.status.wire(), status.wire())
        if not patch:
            self._settle(entry, departed)
            return True
        due = entry.patched_at + patience(len(self._starting))
        if self._clock() < due and may_wait(job.status, status):
            self.queue.add_after(job.key, due - self._clock())
            return False
        try:
            answer = await self._executor.patch_status(job, patch)
        except ApiError as error:
            if error.code in (404, 409):  # deleted or changed meanwhile, or a namesake: the watch will tell
                return False
            raise
        entry.patched_at = self._clock()
        self._settle(entry, departed)
        self._keep(job.metadata.uid, TrainingJob.parse(answer))
        if not may_wait(job.status, status):
            self.queue.add(job.key)  # more may follow from it
        return True

    @staticmethod
    def _settle(entry: Entry, departed: Iterable[PodRecord]) -> None:
        for pod in departed:
            entry.departed.pop(pod.uid, None)


def merge_patch(old: Any, new: Any) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes ``old`` into ``new``; empty where they are equal."""
    patch: dict[str, Any] = {}
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        both = isinstance(before, dict) and isinstance(after, dict)
        patch[key] = merge_patch(before, after) if both else after
    return patch

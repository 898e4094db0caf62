"""The reconcile of a TrainingJob: numbered intentions, read top-down. The first that settles the matter ends the walk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.conditions import Reason
from paceline.api.status import Failure, NodeCounts, Phase, RestartCounts
from paceline.api.trainingjob import TrainingJob
from paceline.plan import deadlines, failure, restart, waiting
from paceline.plan.actions import CreateRendezvous, CreateWorker, DeleteJob, Plan
from paceline.plan.draft import Draft
from paceline.plan.observed import Observed
from paceline.plan.recipes import Catalogue, complaint
from paceline.render.names import worker_selector

# How long a manifest that the API server refused is left alone before it is tried again (quota may be freed).
REFUSED_RETRY_SECONDS = 30


def plan(job: TrainingJob, seen: Observed, now: float, recipes: Catalogue) -> Plan:
    """What to do about a job, given all that was seen of it, at Unix time ``now``. Pure: same input, same plan."""
    if job.metadata.deletion_timestamp is not None:
        return Plan(job.status)  # the garbage collector removes what the job owns
    draft = Draft(job, seen, now)
    draft.set(observed_generation=job.metadata.generation, selector=worker_selector(job))
    intentions: tuple[Callable[[Draft], bool], ...] = (
        _1_leave_a_finished_job_alone,
        _2_finish_a_job_whose_workers_succeeded,
        _3_suspend_when_asked,
        lambda d: _4_refuse_an_invalid_recipe(d, recipes),
        _5_begin_or_resume_or_resize,
        _6_remove_earlier_attempts,
        _7_answer_failures,
        _8_keep_deadlines,
        _9_wait_out_the_backoff,
        _10_create_what_is_missing,
    )
    settled = any(intention(draft) for intention in intentions)
    if not settled:
        _11_say_how_the_gang_is(draft)
    final = draft.holds(c.COMPLETE) or draft.holds(c.FAILED)
    return draft.plan(final=final)


def _1_leave_a_finished_job_alone(d: Draft) -> bool:
    if not (d.holds(c.COMPLETE) or d.holds(c.FAILED)):
        return False
    _clean_up(d)
    expires = deadlines.expires_at(d.job)
    if expires is not None and d.now >= expires:
        d.actions.append(DeleteJob())
    else:
        d.wake(expires)
    return True


def _2_finish_a_job_whose_workers_succeeded(d: Draft) -> bool:
    workers = d.workers
    if not workers or len(workers) < d.wanted or not all(p.succeeded for p in workers):
        return False
    _note_start(d)
    _end(d, c.COMPLETE, Reason.SUCCEEDED, f"all {d.wanted} workers succeeded")
    return True


def _3_suspend_when_asked(d: Draft) -> bool:
    if not d.job.spec.suspend:
        return False
    d.stop_clock()
    d.delete(d.seen.pods)
    if not d.holds(c.SUSPENDED) and d.attempt:
        reason = c.find(d.status.conditions, c.RUNNING)
        if reason is None or reason.reason != Reason.SUSPEND_REQUESTED:
            d.announce("Suspending", "suspend was set: ending all pods")
    message = f"suspended; {len(d.seen.pods)} pods are ending" if d.seen.pods else "suspended"
    for type_ in (c.RUNNING, c.RECOVERING, c.READY):
        d.condition(type_, False, Reason.SUSPEND_REQUESTED, "the job is suspended")
    if not d.seen.pods:
        d.condition(c.SUSPENDED, True, Reason.SUSPEND_REQUESTED, "all pods are gone")
    d.set(nodes=_counts(d), restart_time=None)
    d.say(Phase.SUSPENDING if d.seen.pods else Phase.SUSPENDED, message)
    return True


def _4_refuse_an_invalid_recipe(d: Draft, recipes: Catalogue) -> bool:
    recipe = d.job.spec.recipe
    wrong = complaint(recipe, recipes) if recipe else None
    if wrong is None:
        return False
    _end(d, c.FAILED, Reason.INVALID_RECIPE, wrong)
    return True


def _5_begin_or_resume_or_resize(d: Draft) -> bool:
    nodes = d.job.spec.nodes
    if d.holds(c.SUSPENDED):
        d.condition(c.SUSPENDED, False, Reason.RESUMED, "suspend was unset")
        d.new_attempt(nodes)
    elif d.attempt == 0:
        d.new_attempt(nodes)
    elif d.wanted != nodes:
        d.announce("Resizing", f"from {d.wanted} to {nodes} nodes: the gang starts again")
        d.delete(d.workers)
        _not_running(d, Reason.RESIZED, f"resizing from {d.wanted} to {nodes} nodes")
        d.new_attempt(nodes)
    if d.status.restarts is None:
        d.set(restarts=RestartCounts())
    return False


def _6_remove_earlier_attempts(d: Draft) -> bool:
    d.delete(
        (p for p in d.seen.pods if p.role == "worker" and p.attempt != d.attempt), restart.BROKEN_GANG_GRACE_SECONDS
    )
    return False


def _7_answer_failures(d: Draft) -> bool:
    if cause := failure.hopeless(d.workers, d.now):
        d.set(last_failure=cause)
        _end(d, c.FAILED, cause.cause, f"pod {cause.pod}: {cause.message}")
        return True
    what = failure.first_failed(d.workers, d.seen.unready_nodes, d.now) or _lost(d)
    if what is None:
        return False
    d.set(last_failure=what)
    restarts = d.status.restarts.job if d.status.restarts else 0
    exit_code = "" if what.exit_code is None else f" (exit code {what.exit_code})"
    told = f"{what.cause} in pod {what.pod}{exit_code}: {what.message}"
    if restart.exhausted(restarts):
        _end(d, c.FAILED, Reason.MAX_RESTARTS_EXCEEDED, f"after {restarts} restarts: {told}")
        return True
    delay = restart.backoff_seconds(restarts)
    d.announce("Restarting", f"attempt {d.attempt} failed, the next starts in {delay} s: {told}", warning=True)
    d.delete(d.workers, restart.BROKEN_GANG_GRACE_SECONDS)
    d.new_attempt(d.job.spec.nodes)
    d.set(restarts=RestartCounts(job=restarts + 1), restart_time=at(d.now + delay + 1))
    _not_running(d, Reason.BACKOFF, told)
    d.condition(c.RECOVERING, True, what.cause, told)
    return False


def _8_keep_deadlines(d: Draft) -> bool:
    _note_start(d)
    since = d.status.active_since
    ends = deadlines.active_ends_at(d.job, d.status.active_seconds, since.timestamp() if since else None)
    if ends is not None and d.now >= ends:
        limit = d.job.spec.deadlines.active_seconds
        _end(d, c.FAILED, Reason.DEADLINE_EXCEEDED, f"active for longer than deadlines.activeSeconds ({limit} s)")
        return True
    d.wake(ends)
    if d.holds(c.RUNNING):
        return False
    late = deadlines.startup_ends_at(d.job, d.workers, d.wanted)
    if late is not None and not _all_running(d) and d.now >= late:
        reason, message = waiting.why(d.workers, d.wanted)
        d.set(last_failure=Failure(cause=reason, message=message, time=at(d.now)))
        limit = d.job.spec.deadlines.startup_seconds
        _end(d, c.FAILED, Reason.STARTUP_TIMEOUT, f"not running within deadlines.startupSeconds ({limit} s): {message}")
        return True
    d.wake(late)
    return False


def _9_wait_out_the_backoff(d: Draft) -> bool:
    start = d.status.restart_time
    if start is None:
        return False
    if d.now < start.timestamp():
        recovering = c.find(d.status.conditions, c.RECOVERING)
        d.say(
            Phase.RECOVERING,
            f"attempt {d.attempt} starts soon, after: {recovering.message if recovering else 'a failure'}",
        )
        d.wake(start.timestamp())
        return True
    d.set(restart_time=None)
    return False


def _10_create_what_is_missing(d: Draft) -> bool:
    if d.seen.refused:
        _not_running(d, Reason.INVALID_TEMPLATE, d.seen.refused)
        d.set(nodes=_counts(d))
        d.say(Phase.PENDING, d.seen.refused)
        d.wake(d.now + REFUSED_RETRY_SECONDS)
        return True
    if not d.rendezvous:
        d.actions.append(CreateRendezvous())
    there = {p.index for p in d.workers}
    d.actions += [CreateWorker(i, d.attempt, d.wanted) for i in range(d.wanted) if i not in there]
    return False


def _11_say_how_the_gang_is(d: Draft) -> None:
    d.set(nodes=_counts(d))
    if _all_running(d):
        if not d.holds(c.RUNNING):
            since = max(p.container.running_since or d.now for p in d.workers)
            d.set(running_time=d.status.running_time or at(since))
        message = f"{d.wanted} of {d.wanted} workers run"
        for type_ in (c.RUNNING, c.READY):
            d.condition(type_, True, Reason.GANG_RUNNING, message)
        if d.holds(c.RECOVERING):
            d.condition(c.RECOVERING, False, Reason.GANG_RUNNING, message)
        d.say(Phase.RUNNING, message)
        return
    reason, message = waiting.why([*d.workers, *d.rendezvous], d.wanted)
    _not_running(d, reason, message)
    scheduled = len(d.workers) == d.wanted and all(p.scheduled_at is not None for p in d.workers)
    if d.holds(c.RECOVERING):
        d.say(Phase.RECOVERING, message)
    else:
        d.say(Phase.STARTING if scheduled else Phase.PENDING, message)


# -- shared steps ------------------------------------------------------------------------------------------------------


def _lost(d: Draft) -> Failure | None:
    """A gang that ran misses a worker, or its store. (Before it runs, what is missing is simply created.)"""
    if not d.holds(c.RUNNING):
        return None
    here = {p.index for p in d.workers if not p.deleting}
    for index in range(d.wanted):
        if index not in here:
            return failure.lost(f"{d.job.metadata.name}-{d.attempt}-{index}-0", d.now)
    if not any(not p.deleting for p in d.rendezvous):
        name = f"{d.job.metadata.name}-rdzv"
        return Failure(cause="RendezvousLost", pod=name, message=f"pod {name} was deleted", time=at(d.now))
    return None


def _all_running(d: Draft) -> bool:
    workers = d.workers
    return (
        len(workers) == d.wanted
        and all((p.running or p.succeeded) for p in workers)
        and any(p.running for p in workers)
    )


def _counts(d: Draft) -> NodeCounts:
    running = sum(p.running for p in d.workers)
    return NodeCounts(desired=d.wanted, running=running, summary=f"{running}/{d.wanted}")


def _not_running(d: Draft, reason: str, message: str) -> None:
    for type_ in (c.RUNNING, c.READY):
        d.condition(type_, False, reason, message)


def _note_start(d: Draft) -> None:
    """The clock starts with the first worker that runs, and again after each suspension."""
    began = [p.container.running_since for p in d.workers if p.container.running_since is not None]
    if not began:
        return
    first: datetime = at(min(began))
    if d.status.start_time is None:
        d.set(start_time=first)
    if d.status.active_since is None:
        d.set(active_since=first)


def _end(d: Draft, type_: str, reason: str, message: str) -> None:
    good = type_ == c.COMPLETE
    d.stop_clock()
    d.condition(type_, True, reason, message)
    d.condition(c.RUNNING, False, reason, message)
    if d.holds(c.RECOVERING):
        d.condition(c.RECOVERING, False, reason, message)
    d.condition(c.READY, good, reason, message)
    d.set(completion_time=at(d.now), nodes=_counts(d), restart_time=None)
    d.say(Phase.SUCCEEDED if good else Phase.FAILED, message)
    d.announce("Succeeded" if good else reason, message, warning=not good)
    _clean_up(d)
    ttl = d.job.spec.ttl_seconds_after_finished
    d.wake(None if ttl is None else int(d.now) + ttl)


def _clean_up(d: Draft) -> None:
    """The store always goes; workers by cleanPodPolicy."""
    d.delete(d.rendezvous)
    policy = d.job.spec.clean_pod_policy
    workers = [p for p in d.seen.pods if p.role == "worker"]
    if policy == "All":
        d.delete(workers)
    elif policy == "Running":
        d.delete(p for p in workers if not p.ended)

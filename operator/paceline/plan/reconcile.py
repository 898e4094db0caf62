"""The reconcile of a TrainingJob: numbered intentions, read top-down. The first that settles the matter ends the walk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.conditions import Reason
from paceline.api.status import Cause, Failure, Phase, RestartCounts
from paceline.api.trainingjob import TrainingJob
from paceline.plan import (
    accounting,
    budget,
    causes,
    deadlines,
    elastic,
    failure,
    idle,
    nodes,
    recovery,
    stall,
    stopping,
    story,
    waiting,
)
from paceline.plan.actions import CreateRendezvous, CreateWorker, DeleteJob, Plan
from paceline.plan.draft import Draft
from paceline.plan.observed import Observed
from paceline.plan.recipes import Catalogue, complaint, undivided
from paceline.plan.recovery import not_running
from paceline.plan.sizes import nnodes, sizes
from paceline.render.names import worker_selector

# How long a manifest that the API server refused is left alone before it is tried again (quota may be freed).
REFUSED_RETRY_SECONDS = 30
# Causes after which the next workers keep away from the node, where there are others.
AVOIDED = (Cause.DEVICE_ERROR, Cause.NODE_LOST, Cause.NODE_DRAINED, Cause.RENDEZVOUS_LOST)


def plan(job: TrainingJob, seen: Observed, now: float, recipes: Catalogue) -> Plan:
    """What to do about a job, given all that was seen of it, at Unix time ``now``. Pure: same input, same plan."""
    if job.metadata.deletion_timestamp is not None:
        return Plan(job.status)  # the garbage collector removes what the job owns
    draft = Draft(job, seen, now)
    draft.set(observed_generation=job.metadata.generation, selector=worker_selector(job))
    intentions: tuple[Callable[[Draft], bool], ...] = (
        _1_force_what_cannot_end,
        _2_leave_a_finished_job_alone,
        _3_finish_a_job_whose_workers_succeeded,
        _4_spend_no_more_than_it_is_worth,
        _5_suspend_when_asked,
        lambda d: _6_refuse_an_invalid_recipe(d, recipes),
        _7_begin_or_resume_or_resize,
        _8_remove_what_is_too_many,
        _9_keep_deadlines,
        _10_answer_failures,
        _11_fit_the_size,
        _12_create_what_is_missing,
    )
    settled = any(intention(draft) for intention in intentions)
    if not settled:
        _13_say_how_the_gang_is(draft)
    draft.hear(final=draft.holds(c.COMPLETE) or draft.holds(c.FAILED))
    accounting.account(draft)
    return draft.plan()


def _1_force_what_cannot_end(d: Draft) -> bool:
    """Pods that are being deleted on a node that does not answer, of whichever attempt; and when others will be lost."""
    d.delete(p for p in d.seen.pods if p.deleting and d.lost(p))
    for pod in d.seen.pods:
        lost_at = nodes.lost_at(pod, d.seen.nodes, d.job.spec.node_loss.detect_seconds)
        if lost_at is not None and lost_at > d.now:
            d.wake(lost_at)
    return False


def _2_leave_a_finished_job_alone(d: Draft) -> bool:
    if not (d.holds(c.COMPLETE) or d.holds(c.FAILED)):
        return False
    _clean_up(d)
    expires = deadlines.expires_at(d.job)
    if expires is not None and d.now >= expires:
        d.actions.append(DeleteJob())
    else:
        d.wake(expires)
    return True


def _3_finish_a_job_whose_workers_succeeded(d: Draft) -> bool:
    gang = d.gang
    done = [p for p in gang.live if p.succeeded]
    if sizes(d.job.spec).free:
        # torchrun ends on all nodes together; who came too late for the last round never started to train.
        ended = bool(done) and not gang.running and not gang.lost
        ended = ended and failure.came_too_late(gang.failed, d.seen.nodes, d.seen.logs, d.now)
    else:
        ended = bool(done) and len(done) >= d.wanted
    if not ended:
        return False
    _note_start(d)
    _end(d, c.COMPLETE, Reason.SUCCEEDED, f"all {len(done)} workers succeeded")
    return True


def _4_spend_no_more_than_it_is_worth(d: Draft) -> bool:
    idle.look(d)
    if enough := stopping.look(d):
        _note_start(d)
        _end(d, c.COMPLETE, *enough, event="StoppedByMetric")
        return True
    if budget.look(d) == "Fail":
        assert d.job.spec.cost.budget is not None
        spent = f"{d.job.spec.cost.budget.max_usd} USD (cost.budget.maxUSD) are spent"
        _end(d, c.FAILED, Cause.BUDGET_EXCEEDED, spent, event="FailedByBudget")
        return True
    return False


def _5_suspend_when_asked(d: Draft) -> bool:
    asked = (Reason.SUSPEND_REQUESTED, "suspend was set") if d.job.spec.suspend else None
    why = asked or budget.suspension(d) or idle.suspension(d)
    if why is None:
        return False
    reason, words = why
    suspended = "suspended" if asked else f"suspended: {words}"
    d.stop_clock()
    d.delete(d.seen.pods)
    if not d.holds(c.SUSPENDED) and d.attempt:
        running = c.find(d.status.conditions, c.RUNNING)
        if running is None or running.reason != reason:
            d.announce("Suspending", f"{words}: ending all pods")
    for type_ in (c.RUNNING, c.RECOVERING, c.READY):
        d.condition(type_, False, reason, "the job is suspended")
    for type_ in (c.STALLED, c.DEGRADED):
        d.clear(type_, reason, "the job is suspended")
    d.count_nodes()
    d.set(restart_time=None)
    if d.seen.pods:
        d.say(Phase.SUSPENDING, f"{suspended}; {len(d.seen.pods)} pods are ending")
        return True
    if d.attempt == 0 and asked:
        d.condition(c.SUSPENDED, True, Reason.QUEUED, "created suspended: waiting to be admitted")
        d.say(Phase.QUEUED, "waiting for spec.suspend to be unset, by a queue or by hand")
        return True
    d.hear(final=True)  # what was saved on the way out was reported on the way out
    saved = d.status.checkpoint.last_step if d.status.checkpoint else None
    d.condition(c.SUSPENDED, True, reason, "all pods are gone")
    d.say(Phase.SUSPENDED, suspended if saved is None else f"{suspended}; step {saved} is saved")
    return True


def _6_refuse_an_invalid_recipe(d: Draft, recipes: Catalogue) -> bool:
    recipe = d.job.spec.recipe
    wrong = (complaint(recipe, recipes) or undivided(d.job.spec, recipes)) if recipe else None
    if wrong is None:
        return False
    _end(d, c.FAILED, Reason.INVALID_RECIPE, wrong)
    return True


def _7_begin_or_resume_or_resize(d: Draft) -> bool:
    size = d.job.spec.nodes
    if d.attempt == 0:
        _warn_of_checkpoints_that_do_not_last(d)
    if d.holds(c.SUSPENDED):
        d.condition(c.SUSPENDED, False, Reason.RESUMED, "nothing keeps it suspended any more")
        d.new_attempt(size)
    elif d.attempt == 0:
        d.new_attempt(size)
    elif d.status.nodes is not None and (d.status.nodes.requested or d.wanted) != size:
        d.announce("Resizing", f"from {d.wanted} to {size} nodes")
        d.actions.append(CreateRendezvous())  # all is there but the budget, which a single worker had no need of
        if sizes(d.job.spec).free:
            d.resize(size)  # the others go on: torchrun takes newcomers in, and lets leavers go
        else:
            d.delete(d.workers)
            not_running(d, Reason.RESIZED, f"resizing from {d.wanted} to {size} nodes")
            d.new_attempt(size)
    _count_restarts_in_place(d)
    return False


def _8_remove_what_is_too_many(d: Draft) -> bool:
    earlier = (p for p in d.seen.pods if p.role == "worker" and p.attempt < d.attempt)
    d.delete(earlier, recovery.BROKEN_GANG_GRACE_SECONDS)
    d.delete(d.gang.surplus(d.wanted))
    return False


def _9_keep_deadlines(d: Draft) -> bool:
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
    live = d.gang.live
    late = deadlines.startup_ends_at(d.job, live, d.wanted)
    if late is not None and not (d.gang.whole(d.wanted) and d.store_runs) and d.now >= late:
        _, message = waiting.why(live, d.wanted, d.seen.warnings)
        cause = waiting.cause(live)
        what = Failure(cause=cause, message=message, hint=causes.hint(cause), attempt=d.attempt, time=at(d.now))
        d.set(last_failure=what)
        limit = d.job.spec.deadlines.startup_seconds
        _end(d, c.FAILED, Reason.STARTUP_TIMEOUT, f"not running within deadlines.startupSeconds ({limit} s): {message}")
        return True
    d.wake(late)
    return False


def _10_answer_failures(d: Draft) -> bool:
    if what := failure.hopeless(d.gang.live, d.now):
        d.set(last_failure=what.model_copy(update={"attempt": d.attempt}))
        _end(d, c.FAILED, what.cause, f"pod {what.pod}: {what.message}")
        return True
    backing_off = d.status.restart_time is not None
    if recovery.wait_out(d):
        return True
    # When the wait is over the missing pods are made, whatever else has happened to their like meanwhile.
    if not backing_off and (over := recovery.answer(d)):
        _end(d, c.FAILED, *over)
        return True
    return recovery.wait_out(d) or d.judging


def _11_fit_the_size(d: Draft) -> bool:
    elastic.fit(d)
    return False


def _12_create_what_is_missing(d: Draft) -> bool:
    if d.seen.refused:
        not_running(d, Reason.INVALID_TEMPLATE, d.seen.refused)
        d.count_nodes()
        d.say(Phase.PENDING, d.seen.refused)
        d.wake(d.now + REFUSED_RETRY_SECONDS)
        return True
    d.delete(p for p in d.rendezvous if p.phase in ("Failed", "Succeeded") or d.lost(p))
    last = d.status.last_failure
    avoid = (
        (last.node,) if last and last.node and last.cause in AVOIDED and (last.attempt or 0) >= d.attempt - 1 else ()
    )
    if not d.rendezvous:
        d.actions.append(CreateRendezvous(avoid))
    gang = d.gang
    if gang.succeeded and (d.holds(c.RUNNING) or sizes(d.job.spec).free):
        return False  # the others have trained to the end: nobody is left to train with
    # After those that are gone, too: whose end was answered is told by its number.
    known = [*(p for p in d.seen.gone if p.attempt == d.attempt), *d.workers]
    replacement = {p.index: p.replacement + 1 for p in sorted(known, key=lambda p: p.replacement)}
    for index in gang.free_indices(d.wanted - len(gang.live)):
        pair = nnodes(d.job.spec, d.wanted)
        d.actions.append(CreateWorker(index, d.attempt, pair, replacement.get(index, 0), avoid))
    return False


def _13_say_how_the_gang_is(d: Draft) -> None:
    d.count_nodes()
    gang, asked = d.gang, d.job.spec.nodes
    if d.job.spec.elastic is not None and (gang.live or d.holds(c.DEGRADED)):
        fewer, reason, message = elastic.degraded(d)
        if fewer or d.holds(c.DEGRADED):
            d.condition(c.DEGRADED, fewer, reason, message)
    enough = sizes(d.job.spec)
    fewer_will_do = enough.free and gang.running >= enough.smallest and d.status.running_time is not None
    if d.store_runs and (gang.whole(d.wanted) or fewer_will_do):
        if not d.holds(c.RUNNING):
            since = max(p.container.running_since or d.now for p in gang.live)
            d.set(running_time=d.status.running_time or at(since))
        message = f"{gang.running} of {asked} workers run"
        for type_ in (c.RUNNING, c.READY):
            d.condition(type_, True, Reason.GANG_RUNNING, message)
        if gang.whole(d.wanted):
            d.clear(c.RECOVERING, Reason.GANG_RUNNING, message)
        if d.holds(c.STALLED) and not _silent(d):
            d.condition(c.STALLED, False, Reason.PROGRESS, "progress is reported again")
        d.say(Phase.RUNNING, message)
        return
    waiting.ask(d, [*gang.live, *d.rendezvous])
    reason, message = waiting.why([*gang.live, *d.rendezvous], d.wanted, d.seen.warnings)
    not_running(d, reason, message)
    scheduled = len(gang.live) == d.wanted and all(p.scheduled_at is not None for p in gang.live)
    if d.holds(c.RECOVERING):
        d.say(Phase.RECOVERING, message)
    else:
        d.say(Phase.STARTING if scheduled else Phase.PENDING, message)


# -- shared steps ------------------------------------------------------------------------------------------------------


def _silent(d: Draft) -> bool:
    stalls_at = stall.stalls_at(d.job, d.seen)
    return stalls_at is not None and d.now >= stalls_at


def _count_restarts_in_place(d: Draft) -> None:
    """torchrun restarts processes within the pods; the program tells of it with its progress."""
    report, restarts = d.seen.report, d.restarts
    if report is not None and report.attempt == d.attempt and report.restart_count > restarts.in_place_this_attempt:
        more = report.restart_count - restarts.in_place_this_attempt
        update = {"in_place": restarts.in_place + more, "total": restarts.total + more}
        d.set(restarts=restarts.model_copy(update=update | {"in_place_this_attempt": report.restart_count}))
    elif d.status.restarts is None:
        d.set(restarts=RestartCounts())


def _warn_of_checkpoints_that_do_not_last(d: Draft) -> None:
    checkpoint = d.job.spec.checkpoint
    if checkpoint and checkpoint.volume and checkpoint.volume.empty_dir:
        text = "checkpoint.volume is an emptyDir: checkpoints are lost with their pod; use a claim, nfs or a uri to keep them"
        d.announce("CheckpointsDoNotLast", text, warning=True)


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


def _end(d: Draft, type_: str, reason: str, message: str, event: str = "") -> None:
    good = type_ == c.COMPLETE
    d.stop_clock()
    d.condition(type_, True, reason, message)
    d.condition(c.RUNNING, False, reason, message)
    for over in (c.RECOVERING, c.STALLED, c.DEGRADED):
        d.clear(over, reason, message)
    d.condition(c.READY, good, reason, message)
    d.count_nodes()
    d.set(completion_time=at(d.now), restart_time=None)
    d.say(Phase.SUCCEEDED if good else Phase.FAILED, message)
    d.announce(event or ("Succeeded" if good else reason), message + story.total(d), warning=not good)
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
    else:
        # What trains on when the job has ended (a deadline, its budget) trains for nobody, and costs.
        d.delete(p for p in workers if not (p.succeeded or p.failed))

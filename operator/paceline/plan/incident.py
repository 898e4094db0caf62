"""What has happened to a gang that needs an answer: one incident, of one cause, however many pods it took."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.status import Cause, Failure
from paceline.plan import causes, failure, nodes, stall
from paceline.plan.actions import ReadLog
from paceline.plan.draft import Draft
from paceline.plan.gang import Gang
from paceline.plan.ladder import Rung
from paceline.plan.observed import PodRecord
from paceline.render.names import rendezvous_name, worker_name

# The last to be told is often the one to blame (a kubelet reports OOMKilled after the others have noticed; an interpreter
# takes its time to end): ranks that merely noticed are not answered before the others have ended too, or this has passed.
# Seconds; the shorter where a failure is known already that they may have noticed.
PEERS_SECONDS, SETTLE_SECONDS = 30, 3
# Logs that are read at once.
LOGS = 4
# A collective error this soon after an answered failure belongs to it. Seconds.
AFTERMATH_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Incident:
    what: Failure
    rung: Rung
    # Pods to delete: failed, or to be moved.
    pods: tuple[PodRecord, ...] = ()
    # The ranks only noticed a failure that has been answered already: not one more in any count.
    aftermath: bool = False


def find(d: Draft) -> Incident | None:
    """The incident that needs an answer now; where it is too early to say, None, and the draft is judging."""
    lost = [*d.gang.lost, *(p for p in d.rendezvous if d.holds(c.RUNNING) and d.lost(p))]
    if lost:
        # Nobody can say whether these pods still run, so their generation is fenced off as a whole.
        return Incident(failure.node_lost(lost[0], d.seen.nodes.get(lost[0].node), d.now), Rung.GANG)
    if d.holds(c.RUNNING) and (what := _store_lost(d)):
        return Incident(what, Rung.GANG)
    return _dead(d) or _moving(d) or _stalled(d)


def _dead(d: Draft) -> Incident | None:
    gang, missing = d.gang, d.wanted - len(d.gang.live)
    ending = _unanswered(gang) if missing > 0 else []
    if _reads_logs(d):
        return None
    gone = _gone(d, missing) if d.holds(c.RUNNING) and not d.grown else []
    what = failure.first([*gang.failed, *ending, *gone], d.seen.nodes, d.seen.logs, d.now)
    if what is None and ending:
        what = failure.vanished(ending[0], ending[0].name, d.seen.nodes, d.now)
    if what is None and missing > 0 and d.holds(c.RUNNING) and not d.grown:
        name = worker_name(d.job, d.attempt, gang.free_indices(1)[0])
        what = failure.vanished(gone[0] if gone else None, gone[0].name if gone else name, d.seen.nodes, d.now)
    if what is None:
        return None
    if failure.is_secondary(what):
        last = d.status.last_failure
        aftermath = last is not None and what.time.timestamp() < last.time.timestamp() + AFTERMATH_SECONDS
        settled = what.time.timestamp() + (
            SETTLE_SECONDS if aftermath or failure.cannot_reach_store(what) else PEERS_SECONDS
        )
        if d.now < settled and any(not p.succeeded for p in gang.live):
            d.judge_at(settled)
            return None
        if aftermath:
            return Incident(what, Rung.GANG, gang.failed, aftermath=True)
        if (store := _unreachable(d, what)) is not None:
            return Incident(failure.store_unreachable(store, what), Rung.GANG, (*gang.failed, store))
    # An agent that gave up has closed the rendezvous for all; and those that have ended well do not come back to form one.
    gang_is_over = gang.succeeded or any(failure.agent_gave_up(p) for p in gang.failed)
    return Incident(what, Rung.GANG if gang_is_over else Rung.POD, gang.failed)


def _unreachable(d: Draft, what: Failure) -> PodRecord | None:
    """The store, where a worker says that it does not answer: its node may be gone, which the cluster tells only later.

    Once. Where the next attempt cannot reach its own store either, and made no step, something else is wrong.
    """
    if not failure.cannot_reach_store(what):
        return None
    last, progress = d.status.last_failure, d.status.progress
    again = last is not None and last.cause == Cause.RENDEZVOUS_LOST and last.attempt == d.attempt - 1
    if again and last is not None and last.step == (progress.step if progress else None):
        return None
    return next((p for p in d.rendezvous if p.node and not p.deleting), None)


def _gone(d: Draft, missing: int) -> list[PodRecord]:
    """Workers that are missing, as they were last: what took them may have been seen, and the pod never in its end."""
    free = d.gang.free_indices(missing) if missing > 0 else []
    # One that has been replaced was answered, however it ended after that: its replacement's end is another matter.
    newest = {p.index: p.replacement for p in sorted(d.workers, key=lambda p: p.replacement)}
    gone = (p for p in d.seen.gone if p.attempt == d.attempt and p.index in free)
    return [p for p in gone if p.replacement >= newest.get(p.index, 0)]


def _reads_logs(d: Draft) -> bool:
    """Does the end of a log still have to be read?"""
    unread = [p for p in d.gang.failed if failure.needs_log(p) and p.uid not in d.seen.logs][:LOGS]
    if not unread:
        return False
    # Each is asked for once: one that cannot be had counts as empty.
    d.actions += [ReadLog(p.name, p.uid) for p in unread]
    d.judge_at(d.now)
    return True


def _unanswered(gang: Gang) -> list[PodRecord]:
    """Pods that end although nobody has made another in their place yet."""
    everyone = sorted((*gang.failed, *gang.ending, *gang.live), key=lambda p: p.replacement)
    newest = {p.index: p.replacement for p in everyone}
    return [p for p in gang.ending if p.replacement == newest[p.index]]


def _moving(d: Draft) -> Incident | None:
    leaving = tuple(p for p in d.gang.live if p.scheduled_at and not p.succeeded and nodes.leaving(p, d.seen.nodes))
    if not leaving:
        return None
    pod = leaving[0]
    message = f"node {pod.node} is about to go (its taint says so): pod {pod.name} saves and moves"
    what = Failure(cause=Cause.NODE_DRAINED, pod=pod.name, node=pod.node, message=message, time=at(d.now))
    return Incident(what.model_copy(update={"hint": causes.hint(Cause.NODE_DRAINED)}), Rung.POD, leaving)


def _stalled(d: Draft) -> Incident | None:
    stalls_at = stall.stalls_at(d.job, d.seen)
    if stalls_at is None:
        return None
    if d.now < stalls_at:
        d.wake(stalls_at)
        return None
    deadlines = d.job.spec.deadlines
    message = f"no progress for deadlines.stalledSeconds ({deadlines.stalled_seconds} s), although all pods run"
    if not d.holds(c.STALLED):
        d.condition(c.STALLED, True, c.Reason.NO_PROGRESS, message)
        d.announce("Stalled", message, warning=True)
    if deadlines.on_stall == "Warn":
        return None
    what = Failure(cause=Cause.STALLED, message=message, hint=causes.hint(Cause.STALLED), time=at(d.now))
    return Incident(what, Rung.GANG)


def _store_lost(d: Draft) -> Failure | None:
    """The rendezvous store keeps its keys in memory: a new pod or process of it knows nobody any more."""
    name = rendezvous_name(d.job)
    running = c.find(d.status.conditions, c.RUNNING)
    since = running.last_transition_time.timestamp() if running else d.now
    store = next((p for p in d.rendezvous if not p.deleting), None)
    if store is None:
        why = f"pod {name} is gone"
    elif store.phase in ("Failed", "Succeeded"):
        why = f"pod {name} ended: {store.reason or store.phase}"
    elif store.container.died_at is not None and store.container.died_at > since:
        why = f"the container of pod {name} ended and was started anew"
    else:
        return None
    cause = Cause.RENDEZVOUS_LOST
    return Failure(cause=cause, pod=name, message=why, hint=causes.hint(cause), time=at(d.now))

"""An elastic gang's size: smaller where pods find no node, larger again where there is room."""

from __future__ import annotations

from paceline.api.base import at
from paceline.api.conditions import Reason
from paceline.plan.actions import CreateWorker
from paceline.plan.draft import Draft
from paceline.plan.observed import PodRecord
from paceline.plan.sizes import Sizes, nnodes, sizes

# How long a worker may wait for a node before the gang goes on without it.
WITHDRAW_SECONDS = 20


def fit(d: Draft) -> None:
    """Adjusts the gang's size to what the cluster has room for."""
    if d.job.spec.elastic is None:
        return
    allowed = sizes(d.job.spec)
    if not _shrink(d, allowed):
        _grow(d, allowed)


def _stuck(d: Draft, pods: list[PodRecord]) -> list[PodRecord]:
    """Pods that the scheduler has found no node for, for too long."""
    waiting = [p for p in pods if p.scheduled_at is None and p.unschedulable]
    for pod in waiting:
        if d.now < (until := pod.created_at + WITHDRAW_SECONDS):
            d.wake(until)
    return [p for p in waiting if d.now >= p.created_at + WITHDRAW_SECONDS]


def _shrink(d: Draft, allowed: Sizes) -> bool:
    stuck = _stuck(d, list(d.gang.live))
    size = allowed.fit(len(d.gang.live) - len(stuck)) if stuck else None
    if size is None or size >= d.wanted:
        return False  # too few for any size: they stay, and wait for a node as a fixed gang would
    d.announce("ScaledDown", f"from {d.wanted} to {size} nodes: {stuck[0].unschedulable}", warning=True)
    if allowed.free:
        d.resize(size)
        d.delete(stuck)
    else:
        d.new_attempt(size)
    d.note_resize()
    return True


def _grow(d: Draft, allowed: Sizes) -> None:
    asked = d.job.spec.nodes
    ceiling = allowed.largest if d.job.spec.elastic and d.job.spec.elastic.scale_up_when_free else asked
    target = allowed.fit(ceiling) or d.wanted
    if target <= d.wanted or not d.gang.whole(d.wanted):
        d.delete(d.probes)
        return
    if d.probes:
        _judge_probes(d, allowed)
        return
    if not _due(d):
        return
    if allowed.free:
        d.announce("ScalingUp", f"from {d.wanted} to {target} nodes")
        d.resize(target)
        d.note_resize()
        return
    # Each size is an attempt of its own here. Its further pods come first and wait for a node: only when they have got one
    # is the running attempt ended for it.
    for index in range(d.wanted, target):
        d.actions.append(CreateWorker(index, d.attempt + 1, nnodes(d.job.spec, target)))


def _judge_probes(d: Draft, allowed: Sizes) -> None:
    stuck = _stuck(d, d.probes)
    placed = [p for p in d.probes if p.scheduled_at is not None]
    if len(placed) < len(d.probes) and not stuck:
        return
    d.note_resize()
    size = allowed.fit(d.wanted + len(placed)) or d.wanted
    if size <= d.wanted or len(placed) < len(d.probes):
        d.delete(d.probes)  # for a smaller step their torchrun would wait in vain: it is tried anew, with fewer
        return
    d.announce("ScalingUp", f"from {d.wanted} to {size} nodes: the gang saves and starts again")
    d.delete(d.workers)
    d.new_attempt(size)


def _due(d: Draft) -> bool:
    """After the cooldown, and at a checkpoint where the program reports any: growing interrupts the training."""
    elastic, nodes = d.job.spec.elastic, d.status.nodes
    assert elastic is not None
    resized = (nodes and nodes.resize_time) or d.status.running_time or at(d.now)
    cooldown = elastic.scale_up_cooldown_seconds
    due = resized.timestamp() + cooldown
    if d.now < due:
        d.wake(due)
        return False
    saved = d.status.checkpoint.time if d.status.checkpoint else None
    if saved is None or saved.timestamp() >= due or d.now >= due + max(cooldown, 60):
        return True
    d.wake(due + max(cooldown, 60))
    return False


def degraded(d: Draft) -> tuple[bool, str, str]:
    """(is it, reason, message) of the condition Degraded."""
    asked, running = d.job.spec.nodes, d.gang.running
    if running >= asked or d.job.spec.elastic is None:
        return False, Reason.AS_ASKED, f"{running} of {asked} workers run"
    waiting = next((p.unschedulable for p in d.gang.live if p.unschedulable), "")
    why = f": {waiting}" if waiting else ""
    return True, Reason.FEWER_NODES, f"{asked - running} of {asked} workers are missing{why}"

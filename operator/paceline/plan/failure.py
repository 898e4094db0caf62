"""Attribution: which worker failed first, of what cause, and what it said. The others mostly just noticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from paceline.api.base import at
from paceline.api.status import Cause, Failure, PastFailure
from paceline.plan import causes, lastwords, nodes
from paceline.plan.lastwords import LastWords
from paceline.plan.observed import NodeRecord, PodRecord

# Waiting reasons that no restart cures and that time does not either: the manifest must change.
HOPELESS = {"InvalidImageName": Cause.IMAGE_ERROR, "CreateContainerConfigError": Cause.CONFIG_ERROR}
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable")
# Reasons of terminated containers whose program never began.
NEVER_STARTED = ("StartError", "ContainerCannotRun", "CreateContainerError", "RunContainerError")
# Reasons of a pod's DisruptionTarget condition, and of failed pods.
DISRUPTIONS = {
    "EvictionByEvictionAPI": Cause.NODE_DRAINED,
    "PreemptionByScheduler": Cause.PREEMPTED,
    "TerminationByKubelet": Cause.EVICTED,
    "DeletionByTaintManager": Cause.NODE_LOST,
    "DeletionByPodGC": Cause.NODE_LOST,
}
POD_REASONS = {
    "Evicted": Cause.EVICTED,
    "Preempting": Cause.PREEMPTED,
    "NodeLost": Cause.NODE_LOST,
    "Terminated": Cause.NODE_DRAINED,
    "NodeShutdown": Cause.NODE_DRAINED,
    "Shutdown": Cause.NODE_DRAINED,
    "UnexpectedAdmissionError": Cause.UNSCHEDULABLE,
    "NodeAffinity": Cause.UNSCHEDULABLE,
}
MESSAGE_LIMIT, TRACEBACK_LIMIT, SHORT_LIMIT = 2048, 4000, 256
TERMINATED = (143, -15)

_DEVICE_MEMORY = re.compile(
    r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|HIP out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)
_HOST_MEMORY = re.compile(r"\bMemoryError\b|Cannot allocate memory|DefaultCPUAllocator: can't allocate memory")
_DISK = re.compile(r"No space left on device|Disk quota exceeded")
_DEVICE = re.compile(
    r"uncorrectable (?:ECC|NVLink)|\bXid\b|fallen off the bus|unspecified launch failure|CUDA error: unknown error"
    r"|cudaErrorDevicesUnavailable|CUDA-capable device\(s\) is/are busy or unavailable|hardware error"
    r"|NVML.*(?:lost|Unknown Error)"
    r"|system not yet initialized",
    re.IGNORECASE,
)
_DEVICE_NAME = re.compile(r"\b(GPU|device)[ :=]+(\d+)", re.IGNORECASE)


def first(
    pods: Iterable[PodRecord], nodes_: Mapping[str, NodeRecord], logs: Mapping[str, str], now: float
) -> Failure | None:
    """The failure that came first among pods that failed or are taken away. ``logs``: ends of logs by pod uid, if read."""
    found = [(_failure(p, nodes_, logs.get(p.uid, ""), now), p.index) for p in pods if p.failed or p.disruption]
    if not found:
        return None
    return min(found, key=lambda f: (is_secondary(f[0]), f[0].time, f[1]))[0]


def needs_log(pod: PodRecord) -> bool:
    """Did the program end by itself, so that the end of its log may say more than the 2 KiB in the pod's status?"""
    return agent_gave_up(pod) and pod.container.reason not in (*NEVER_STARTED, "OOMKilled")


def agent_gave_up(pod: PodRecord) -> bool:
    """Did the program end by itself with an error? torchrun has closed the rendezvous for all then."""
    code = pod.container.exit_code
    taken = pod.deleting or pod.disruption or pod.reason in POD_REASONS
    return (
        code is not None
        and code not in (0, 137, *TERMINATED)
        and not taken
        and "SignalException" not in pod.container.message
    )


def is_secondary(what: Failure) -> bool:
    """Does it say only that a peer was gone?"""
    return what.cause == Cause.COLLECTIVE_TIMEOUT


def came_too_late(
    pods: Iterable[PodRecord], nodes_: Mapping[str, NodeRecord], logs: Mapping[str, str], now: float
) -> bool:
    """Did all of these that failed only find the rendezvous closed?"""
    found = (_failure(p, nodes_, logs.get(p.uid, ""), now) for p in pods)
    return all(is_secondary(f) and lastwords.CLOSED.search(f"{f.message}\n{f.traceback or ''}") for f in found)


def cannot_reach_store(what: Failure) -> bool:
    """Does it say that the rendezvous store did not answer?"""
    return lastwords.STORE_UNREACHABLE.search(f"{what.message}\n{what.traceback or ''}") is not None


def store_unreachable(store: PodRecord, what: Failure) -> Failure:
    """``what``: of the worker that could not reach it. The store's node is suspected, and kept away from."""
    message = f"pod {what.pod} cannot reach the store, pod {store.name} on node {store.node}: {what.message}"
    plain = _plain(Cause.RENDEZVOUS_LOST, store.name, store.node, message, what.time.timestamp())
    return plain.model_copy(update={"traceback": what.traceback})


def node_lost(pod: PodRecord, node: NodeRecord | None, now: float) -> Failure:
    """A worker, or the store, on a node that does not answer."""
    how = "is gone from the cluster" if node is None else "does not answer"
    trouble = "".join(f"; {text}" for text in node.troubles) if node else ""
    return _plain(Cause.NODE_LOST, pod.name, pod.node, f"node {pod.node} {how}{trouble}", now)


def vanished(pod: PodRecord | None, name: str, nodes_: Mapping[str, NodeRecord], now: float) -> Failure:
    """A worker that ran is gone from the API, or going, and nobody of ours asked for it."""
    node = nodes_.get(pod.node) if pod else None
    if pod is not None and node is not None and (node.unschedulable or nodes.leaving(pod, nodes_)):
        return _plain(
            Cause.NODE_DRAINED, name, pod.node, f"pod {name} was deleted; node {pod.node} is being emptied", now
        )
    return _plain(Cause.POD_DELETED, name, pod.node if pod else None, f"pod {name} was deleted while it ran", now)


def hopeless(pods: Iterable[PodRecord], now: float) -> Failure | None:
    """A container that can never start as the manifest stands."""
    for pod in pods:
        if cause := HOPELESS.get(pod.container.waiting_reason):
            return _plain(
                cause, pod.name, pod.node, f"{pod.container.waiting_reason}: {pod.container.waiting_message}", now
            )
    return None


def same_again(past: Sequence[PastFailure], new: Failure) -> bool:
    """The same exception at the same step (or, never having made one, at none) for the third time in a row?"""
    last = past[-2:]
    line = shorten(new).message
    return (
        len(last) == 2
        and new.cause == Cause.CODE_ERROR
        and all((p.cause, p.message, p.step) == (new.cause, line, new.step) for p in last)
    )


def shorten(what: Failure) -> PastFailure:
    """With the first line of the message only."""
    line = next(iter(what.message.strip().splitlines()), "")[:SHORT_LIMIT]
    return PastFailure(
        cause=what.cause, pod=what.pod, attempt=what.attempt, step=what.step, message=line, time=what.time
    )


def _plain(cause: Cause, pod: str, node: str | None, message: str, now: float) -> Failure:
    hint = causes.hint(cause)
    return Failure(cause=cause, pod=pod, node=node or None, message=message[:MESSAGE_LIMIT], hint=hint, time=at(now))


def _failure(pod: PodRecord, nodes_: Mapping[str, NodeRecord], log: str, now: float) -> Failure:
    said = lastwords.read(pod.container.message, log)
    cause, hint = _cause(pod, said, nodes_)
    device = (
        _DEVICE_NAME.search(said.message) if hint == causes.DEVICE_MEMORY_HINT or cause == Cause.DEVICE_ERROR else None
    )
    when = said.time or pod.container.finished_at or now
    theirs = not (pod.disruption or pod.reason in POD_REASONS)
    message = (said.message if theirs else "") or pod.disruption_message or pod.message or _end(pod)
    return Failure(
        cause=cause,
        rank=said.rank if theirs else None,
        pod=pod.name,
        node=pod.node or None,
        device=f"{device[1].upper() if device[1].lower() == 'gpu' else 'device'} {device[2]}" if device else None,
        exit_code=said.exit_code if said.exit_code is not None and theirs else pod.container.exit_code,
        message=message[:MESSAGE_LIMIT],
        traceback=said.traceback[-TRACEBACK_LIMIT:] or None if theirs else None,
        hint=hint,
        time=at(when),
    )


def _cause(pod: PodRecord, said: LastWords, nodes_: Mapping[str, NodeRecord]) -> tuple[Cause, str]:
    cause = _from_outside(pod, nodes_)
    if cause is not None:
        return cause, causes.hint(cause)
    text = f"{said.message}\n{said.traceback}" if said.message else pod.container.message
    if _DEVICE_MEMORY.search(text):
        return Cause.OUT_OF_MEMORY, causes.DEVICE_MEMORY_HINT
    if _HOST_MEMORY.search(text):
        return Cause.OUT_OF_MEMORY, causes.hint(Cause.OUT_OF_MEMORY)
    if _DISK.search(text):
        return Cause.CODE_ERROR, causes.DISK_HINT
    cause = Cause.UNKNOWN
    if _DEVICE.search(text):
        cause = Cause.DEVICE_ERROR
    elif lastwords.NOTICED.search(text):
        cause = Cause.COLLECTIVE_TIMEOUT
    elif said.traceback or _is_error_of_code(pod, said):
        cause = Cause.CODE_ERROR
    return cause, causes.hint(cause)


def _from_outside(pod: PodRecord, nodes_: Mapping[str, NodeRecord]) -> Cause | None:
    """What pod, container and node say before anything that the program said counts."""
    if pod.disruption:
        return DISRUPTIONS.get(pod.disruption, Cause.POD_DELETED)
    if pod.reason in POD_REASONS:
        return POD_REASONS[pod.reason]
    if pod.reason.startswith("OutOf"):  # OutOfcpu, OutOfmemory …: the kubelet had no room for it after all
        return Cause.UNSCHEDULABLE
    if pod.container.reason == "OOMKilled":
        return Cause.OUT_OF_MEMORY
    if pod.container.reason in NEVER_STARTED:
        return Cause.CONFIG_ERROR
    if pod.container.exit_code in TERMINATED:
        return Cause.NODE_DRAINED if nodes.leaving(pod, nodes_) else Cause.POD_DELETED
    return None


def _is_error_of_code(pod: PodRecord, said: LastWords) -> bool:
    """An exit code of the program's own choice, or a signal that it brought upon itself; not SIGKILL."""
    code = said.exit_code if said.exit_code is not None else pod.container.exit_code
    if said.exit_code is None and not said.message:
        return False  # nothing but torchrun's 1
    return code not in (None, 137)


def _end(pod: PodRecord) -> str:
    """The last lines that there are, for want of anything better."""
    return (
        pod.container.message.strip()[-MESSAGE_LIMIT:] or pod.container.reason or f"exit code {pod.container.exit_code}"
    )

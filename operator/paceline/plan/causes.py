"""What each cause of a failure means: does it count against the user, can a restart cure it, what to look at."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.api.status import Cause


@dataclass(frozen=True, slots=True)
class Meaning:
    """``counts``: against restarts.max. ``curable``: by starting again."""

    counts: bool
    curable: bool
    hint: str


_MEANINGS = {
    Cause.CODE_ERROR: Meaning(
        True, True, "The program raised or ended with an error: see the traceback, or the pod's log."
    ),
    Cause.OUT_OF_MEMORY: Meaning(
        True,
        True,
        "Host memory ran out: raise resources.limits.memory, or use fewer loader processes or smaller batches.",
    ),
    Cause.COLLECTIVE_TIMEOUT: Meaning(
        True,
        True,
        "Ranks lost each other and none of them says why: look for a slow or hung rank, collectives that not all ranks "
        "call, and the network between the nodes.",
    ),
    Cause.DEVICE_ERROR: Meaning(
        False,
        True,
        "The device failed: the next workers keep away from the node; drain it and look at its device's log (Xid, ECC).",
    ),
    Cause.NODE_LOST: Meaning(False, True, "The node does not answer: see `kubectl describe node`."),
    Cause.NODE_DRAINED: Meaning(False, True, "The node is being emptied; nothing is wrong with the job."),
    Cause.PREEMPTED: Meaning(False, True, "A pod of higher priority took the place: see scheduling.priorityClassName."),
    Cause.EVICTED: Meaning(
        False, True, "The node ran short of memory, disk or processes: set requests that say what the job needs."
    ),
    Cause.POD_DELETED: Meaning(False, True, "Somebody or something deleted the pod; nothing is wrong with the job."),
    Cause.IMAGE_ERROR: Meaning(True, False, "Check the image's name, and template.spec.imagePullSecrets."),
    Cause.CONFIG_ERROR: Meaning(
        True,
        False,
        "The container cannot be made as the manifest stands: check command, env, ConfigMaps, Secrets and volumes.",
    ),
    Cause.UNSCHEDULABLE: Meaning(
        False, True, "No node has room, or allows the pod: check resources, taints and quota."
    ),
    Cause.STARTUP_TIMEOUT: Meaning(
        True,
        False,
        "The pods did not run in time: see `kubectl describe pod` for image pulls and volumes, or raise startupSeconds.",
    ),
    Cause.STALLED: Meaning(
        True,
        True,
        "The program reports no progress: look for a hung rank (py-spy dump), or raise deadlines.stalledSeconds.",
    ),
    Cause.RENDEZVOUS_LOST: Meaning(False, True, "The store's pod was lost; a new generation starts with another."),
    Cause.DEADLINE_EXCEEDED: Meaning(True, False, "Raise deadlines.activeSeconds, or train less."),
    Cause.BUDGET_EXCEEDED: Meaning(True, False, "Raise cost.budget.maxUSD."),
    Cause.UNKNOWN: Meaning(
        True,
        True,
        "Nothing says why: the pod's log and events may; a process killed by signal 9 is often the kernel's OOM killer.",
    ),
}
DEVICE_MEMORY_HINT = (
    "Device memory ran out: use smaller batches, gradient accumulation or checkpointing, or more devices."
)
DISK_HINT = "A disk is full: see the volume that the program writes to."


def counts(cause: Cause) -> bool:
    return _MEANINGS[cause].counts


def curable(cause: Cause) -> bool:
    return _MEANINGS[cause].curable


def hint(cause: Cause) -> str:
    return _MEANINGS[cause].hint

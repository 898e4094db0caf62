"""The restart ladder: which rung answers a failure, and after what wait.

Rung 1, a process, is torchrun's own, within the pod. The others are decided here: a pod, the gang, or the job's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from paceline.api.status import Failure, PastFailure
from paceline.api.survival import Restarts
from paceline.plan import causes, failure

# Failures of the infrastructure that lie further back say nothing of the present one.
CALM_SECONDS = 600


class Rung(Enum):
    POD = "pod"  # only the failed pods are replaced; the others wait for them in the rendezvous, or go on without
    GANG = "gang"  # a new attempt
    END = "end"


@dataclass(frozen=True, slots=True)
class Answer:
    rung: Rung
    # Against restarts.max?
    counts: bool
    delay_seconds: int
    # Why the job ends: MaxRestartsExceeded, SameFailureAgain or the cause that no restart cures.
    because: str = ""


def answer(
    what: Failure, rung: Rung, spec: Restarts, window: Sequence[datetime], past: Sequence[PastFailure]
) -> Answer:
    """``rung``: the lowest that can help. ``window``: counted failures within the window, this one not among them."""
    if not causes.curable(what.cause):
        return Answer(Rung.END, True, 0, what.cause)
    if not causes.counts(what.cause):
        calm = what.time.timestamp() - CALM_SECONDS
        recent = sum(not causes.counts(p.cause) and p.time.timestamp() > calm for p in past)
        # The first is answered at once: it is nobody's fault, and every second costs the whole gang.
        return Answer(rung, False, backoff_seconds(spec, recent - 1) if recent else 0)
    if len(window) >= spec.max:
        return Answer(Rung.END, True, 0, "MaxRestartsExceeded")
    if failure.same_again(past, what):
        return Answer(Rung.END, True, 0, "SameFailureAgain")
    return Answer(rung, True, backoff_seconds(spec, len(window)))


def backoff_seconds(spec: Restarts, before: int) -> int:
    """The wait after so many earlier failures: doubling, and bounded."""
    return int(min(spec.backoff_seconds * 2 ** min(before, 20), spec.backoff_max_seconds))


def within_window(times: Sequence[datetime], now: float, window_seconds: int) -> list[datetime]:
    return [t for t in times if t.timestamp() > now - window_seconds]

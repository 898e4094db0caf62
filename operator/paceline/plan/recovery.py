"""Answers an incident: counts it, tells it, and takes the rung of the ladder that it needs."""

from __future__ import annotations

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.conditions import Reason
from paceline.api.status import Failure, Phase
from paceline.plan import failure, incident, ladder
from paceline.plan.draft import Draft
from paceline.plan.incident import Incident
from paceline.plan.ladder import Answer, Rung

# The rest of a broken gang hangs in its collectives and has nothing to save: no reason to wait the full grace.
BROKEN_GANG_GRACE_SECONDS = 5
PAST_FAILURES = 10


def answer(d: Draft) -> tuple[str, str] | None:
    """Answers what has happened, if anything has. (reason, message) where the job must end of it."""
    found = incident.find(d)
    if found is None:
        return None
    what = found.what.model_copy(
        update={"attempt": d.attempt, "step": d.status.progress.step if d.status.progress else None}
    )
    restarts, past = d.restarts, d.status.failures or []
    window = ladder.within_window(restarts.window or [], d.now, d.job.spec.restarts.window_seconds)
    if found.aftermath:
        decided = Answer(found.rung, counts=False, delay_seconds=0)
    else:
        decided = ladder.answer(what, found.rung, d.job.spec.restarts, window, past)
        d.set(last_failure=what, failures=[*past, failure.shorten(what)][-PAST_FAILURES:])
    if decided.counts:
        window = [*window, what.time]
    d.set(restarts=restarts.model_copy(update={"window": window or None, "since_window": len(window)}))
    told = tell(what)
    if decided.rung is Rung.END:
        return decided.because, f"{_why(decided, len(window) - 1)}{told}"
    _climb(d, found, decided, told)
    return None


def _climb(d: Draft, found: Incident, decided: Answer, told: str) -> None:
    soon = f"in {decided.delay_seconds} s" if decided.delay_seconds else "now"
    counts = d.restarts
    update = {"infrastructure": counts.infrastructure + (not decided.counts)}
    if decided.rung is Rung.POD:
        missing = d.wanted - len(d.gang.live) + sum(p in found.pods for p in d.gang.live)
        d.announce("ReplacingPods", f"{missing} of {d.wanted} workers are replaced {soon}: {told}", warning=True)
        d.delete(found.pods)
        update |= {"pod": counts.pod + missing, "total": counts.total + missing}
    else:
        d.announce("Restarting", f"attempt {d.attempt} failed, the next starts {soon}: {told}", warning=True)
        d.delete(d.workers, BROKEN_GANG_GRACE_SECONDS)
        d.delete(p for p in d.rendezvous if d.lost(p) or p.phase in ("Failed", "Succeeded"))
        # A store that nobody reaches may be on a node whose kubelet never answers. It keeps nothing that is worth a grace.
        d.delete((p for p in d.rendezvous if p in found.pods), grace_seconds=0)
        update |= {"job": counts.job + decided.counts, "total": counts.total + 1}
    d.set(restarts=counts.model_copy(update=update))
    if decided.rung is Rung.GANG:
        d.new_attempt(d.wanted)
    not_running(d, Reason.BACKOFF if decided.delay_seconds else Reason.POD_REPLACED, told)
    d.condition(c.RECOVERING, True, found.what.cause, told)
    if decided.delay_seconds:
        d.set(restart_time=at(d.now + decided.delay_seconds + 1))


def wait_out(d: Draft) -> bool:
    """Still backing off?"""
    start = d.status.restart_time
    if start is None:
        return False
    if d.now >= start.timestamp():
        d.set(restart_time=None)
        return False
    recovering = c.find(d.status.conditions, c.RECOVERING)
    d.count_nodes()
    d.say(
        Phase.RECOVERING,
        f"attempt {d.attempt} goes on soon, after: {recovering.message if recovering else 'a failure'}",
    )
    d.wake(start.timestamp())
    return True


def not_running(d: Draft, reason: str, message: str) -> None:
    for type_ in (c.RUNNING, c.READY):
        d.condition(type_, False, reason, message)


def tell(what: Failure) -> str:
    """A failure in one sentence."""
    where = "" if what.pod is None else f" in pod {what.pod}"
    rank = "" if what.rank is None else f", rank {what.rank}"
    code = "" if what.exit_code is None else f" (exit code {what.exit_code})"
    return f"{what.cause}{where}{rank}{code}: {what.message}"


def _why(decided: Answer, restarts: int) -> str:
    match decided.because:
        case "MaxRestartsExceeded":
            return f"after {restarts} restarts: "
        case "SameFailureAgain":
            return "the same failure at the same step three times, so no restart would cure it: "
        case _:
            return ""

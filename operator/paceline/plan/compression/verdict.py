"""What came of the trials: the verdict, and the model that is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from paceline.api.compression_rules import SCORES
from paceline.api.compression_status import Measured, Verdict
from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.plan.compression.gates import judge
from paceline.plan.compression.seen import figures
from paceline.plan.compression.walk import Walked


@dataclass(frozen=True)
class Outcome:
    """``taken``: the trial and stage whose model is kept, None where it is withheld."""

    verdict: Verdict
    message: str
    taken: tuple[Walked, Measured] | None


def outcome(job: CompressionJob, trials: Sequence[Walked], children: Mapping[str, TrainingJob]) -> Outcome:
    """Of trials that are over; a further one is not wanted or not possible."""
    last = trials[-1]
    if last.passed:
        return Outcome(Verdict.ACCEPTED, _accepted(last), (last, last.stages[-1]))
    if job.spec.on_gate_fail == "Backoff":
        best = max(trials, key=_how_good)
        words = f"no trial of {len(trials)} met all gates; trial {best.number} came closest: {_missed(best)}"
        return Outcome(Verdict.INFEASIBLE, words, (best, best.stages[-1]))
    if job.spec.on_gate_fail == "KeepBest" and len(last.stages) > 1:
        return _kept(job, last, children)
    worse = any(gate.metric in SCORES for gate in last.missed)
    verdict = Verdict.REGRESSION if worse else Verdict.INFEASIBLE
    taken = None if worse or job.spec.on_gate_fail == "Stop" else (last, last.stages[-1])
    return Outcome(verdict, f"stage {last.stages[-1].name} missed its gates: {_missed(last)}", taken)


def _kept(job: CompressionJob, last: Walked, children: Mapping[str, TrainingJob]) -> Outcome:
    """The stage before the one that failed, judged as if it were the last."""
    failed, kept = last.stages[-1], last.stages[-2]
    base = figures(children[last.steps[0].name])
    results = [judge(gate, base, last.measured[kept.name]) for gate in job.spec.gates]
    missed = [gate for gate in results if not gate.passed]
    words = f"stage {failed.name} missed its gates ({_missed(last)}); {kept.name} is kept"
    if not missed:
        return Outcome(Verdict.ACCEPTED, words, (last, kept.model_copy(update={"gates": results})))
    short = ", ".join(f"{g.metric} {g.goal} {g.value}: {g.reached or 'not measured'}" for g in missed)
    return Outcome(
        Verdict.INFEASIBLE,
        f"{words}, which misses {short}",
        (last, kept.model_copy(update={"gates": results})),
    )


def _how_good(trial: Walked) -> tuple[int, int, Decimal]:
    """More stages done, fewer gates missed, then by accuracy."""
    last = trial.stages[-1]
    return len(trial.stages), -len(trial.missed), Decimal(last.scores.get("accuracy", "0"))


def _missed(trial: Walked) -> str:
    return ", ".join(f"{g.metric} {g.goal} {g.value}: {g.reached or 'not measured'}" for g in trial.missed)


def _accepted(trial: Walked) -> str:
    last = trial.stages[-1]
    gates = f"all {len(last.gates)} gates are met" if last.gates else "there are no gates"
    return gates + (f" in trial {trial.number}" if trial.number > 1 else "")

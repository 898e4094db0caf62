"""The plan for a CompressionJob, as a chain of intentions; the first that settles the matter ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.compression_status import (
    Artifact,
    CompressionProgress,
    Measured,
    Report,
    Summary,
    Verdict,
)
from paceline.api.compressionjob import CompressionJob
from paceline.api.conditions import Reason
from paceline.api.status import Cause, Phase
from paceline.api.trainingjob import TrainingJob
from paceline.plan.actions import DeleteJob
from paceline.plan.compression import pages, serving
from paceline.plan.compression.check import complaint
from paceline.plan.compression.children import manifest
from paceline.plan.compression.draft import CompressionDraft
from paceline.plan.compression.gates import is_score, plain
from paceline.plan.compression.origin import Missing, Origin, find
from paceline.plan.compression.pipeline import Pipeline, Step
from paceline.plan.compression.seen import CompressionPlan, CreateChild, Seen, ended, figures
from paceline.plan.compression.trials import stages_of
from paceline.plan.compression.verdict import Outcome, outcome
from paceline.plan.compression.walk import Walked, summary, walk

# How long a TrainingJob that the API server refused is left alone before it is tried again.
REFUSED_RETRY_SECONDS = 30
ALL_LAYERS = 6
# How often a result that was not heard is asked for.
ASKED_AGAIN = 3


def plan(job: CompressionJob, seen: Seen, now: float) -> CompressionPlan:
    """What to do about a job, given all that was seen of it, at Unix time ``now``. Pure: same input, same plan."""
    if job.metadata.deletion_timestamp is not None:
        return CompressionPlan(job.status)  # the garbage collector removes what the job owns
    d = CompressionDraft(job, seen, now)
    changed = job.status.observed_generation not in (None, job.metadata.generation)
    d.set(observed_generation=job.metadata.generation)
    origin = find(job, seen.source)
    d.account(origin.cost_usd if isinstance(origin, Origin) else None)
    intentions: tuple[Callable[[CompressionDraft], bool], ...] = (
        lambda d: _1_leave_a_finished_job_alone(d, changed=changed),
        _2_suspend_when_asked,
        _3_spend_no_more_than_the_budget,
        lambda d: _4_wait_for_the_source(d, origin),
        lambda d: isinstance(origin, Origin) and _5_go_through_the_trials(d, origin),
    )
    any(intention(d) for intention in intentions)
    return d.plan()


def _1_leave_a_finished_job_alone(d: CompressionDraft, *, changed: bool) -> bool:
    if not d.finished:
        return False
    if changed:
        _reopen(d)
        return False
    ttl, end = d.job.spec.ttl_seconds_after_finished, d.status.completion_time
    if ttl is not None and end is not None:
        if d.now >= end.timestamp() + ttl:
            d.actions.append(DeleteJob())
        else:
            d.wake(end.timestamp() + ttl)
    return True


def _reopen(d: CompressionDraft) -> None:
    """The spec was changed after the end: what has a result is kept, what failed is tried again."""
    for type_ in (c.COMPLETE, c.FAILED):
        d.clear(type_, Reason.RESUMED, "the spec was changed")
    d.set(completion_time=None, verdict=None, artifact=None, last_failure=None, report=None, summary=None)
    failed = [child for child in d.seen.children.values() if c.holds(child.status.conditions, c.FAILED)]
    d.delete(failed)
    d.forget(failed)
    d.announce("Reopened", "the spec was changed: stages with a result are not done again")


def _2_suspend_when_asked(d: CompressionDraft) -> bool:
    if not d.job.spec.suspend:
        return False
    d.suspend(d.running, suspended=True)
    _suspended(d, Reason.SUSPEND_REQUESTED, "suspend was set")
    return True


def _suspended(d: CompressionDraft, reason: str, words: str) -> None:
    ending = [child for child in d.running if not c.holds(child.status.conditions, c.SUSPENDED)]
    for type_ in (c.RUNNING, c.READY):
        d.condition(type_, False, reason, "the job is suspended")
    if ending:
        d.say(Phase.SUSPENDING, f"{words}; {ending[0].metadata.name} is ending")
        return
    if not d.holds(c.SUSPENDED):
        d.announce("Suspended", words)
    d.condition(c.SUSPENDED, True, reason, words)
    d.say(Phase.SUSPENDED, f"suspended: {words}")


def _3_spend_no_more_than_the_budget(d: CompressionDraft) -> bool:
    """Within a step its TrainingJob keeps what is left; here is what follows for the job."""
    whole, left = d.job.spec.cost.budget, d.left()
    if whole is None or left is None:
        for type_ in (c.BUDGET_AT_RISK, c.BUDGET_EXCEEDED):
            d.clear(type_, Reason.WITHIN_BUDGET, "there is no budget")
        return False
    if d.spent >= Decimal(whole.max_usd) * Decimal(whole.warn_at_ratio) and d.spent_by_job:
        if not d.holds(c.BUDGET_AT_RISK):
            d.announce("BudgetAtRisk", f"{d.spent:f} of {whole.max_usd} USD are spent", warning=True)
            d.condition(c.BUDGET_AT_RISK, True, Reason.WARN_RATIO_REACHED, f"of {whole.max_usd} USD")
    else:
        d.clear(c.BUDGET_AT_RISK, Reason.WITHIN_BUDGET, f"of {whole.max_usd} USD")
    stopped = any(
        c.holds(child.status.conditions, c.BUDGET_EXCEEDED) for child in d.seen.children.values() if _counts(child)
    )
    if left > 0 and not (stopped and not _more_is_left(d)):
        d.clear(c.BUDGET_EXCEEDED, Reason.WITHIN_BUDGET, f"less than {whole.max_usd} USD are spent")
        return False
    words = f"{whole.max_usd} USD (cost.budget.maxUSD) are spent"
    new = not d.holds(c.BUDGET_EXCEEDED)
    d.condition(c.BUDGET_EXCEEDED, True, Reason.BUDGET_SPENT, words)
    if whole.on_exceed == "Warn":
        if new:
            d.announce("BudgetExceeded", f"{words}; the job goes on, since onExceed is Warn", warning=True)
        return False
    if whole.on_exceed == "Fail":
        d.set(verdict=Verdict.BUDGET_EXCEEDED)
        _end(d, good=False, reason=Cause.BUDGET_EXCEEDED, message=words, event="FailedByBudget")
        return True
    if new:
        d.announce("SuspendedByBudget", f"{words}; raise it to go on", warning=True)
    d.suspend([x for x in d.running if not c.holds(x.status.conditions, c.BUDGET_EXCEEDED)], suspended=True)
    _suspended(d, Reason.BUDGET_SPENT, f"{words}; raise it to go on")
    return True


def _counts(child: TrainingJob) -> bool:
    """Was it stopped by its budget, or has it failed for it?"""
    return not c.holds(child.status.conditions, c.COMPLETE)


def _more_is_left(d: CompressionDraft) -> bool:
    """Is the budget larger by now than what stopped a TrainingJob?"""
    for child in d.seen.children.values():
        has, left = child.spec.cost.budget, d.left(child)
        stopped = _counts(child) and c.holds(child.status.conditions, c.BUDGET_EXCEEDED)
        if stopped and has is not None and left is not None and left <= Decimal(has.max_usd):
            return False
    return True


def _4_wait_for_the_source(d: CompressionDraft, origin: Origin | Missing) -> bool:
    if isinstance(origin, Origin):
        if not d.holds(c.SOURCE_READY):
            d.condition(c.SOURCE_READY, True, Reason.SOURCE_FOUND, f"the model is in {origin.path}")
        return False
    d.condition(c.SOURCE_READY, False, origin.reason, origin.message)
    if origin.final:
        _end(d, good=False, reason=origin.reason, message=origin.message)
    else:
        d.clear(c.SUSPENDED, Reason.RESUMED, "nothing keeps it suspended any more")
        d.waiting(origin.reason, origin.message)
    return True


def _5_go_through_the_trials(d: CompressionDraft, origin: Origin) -> bool:
    if d.holds(c.SUSPENDED):
        d.condition(c.SUSPENDED, False, Reason.RESUMED, "nothing keeps it suspended any more")
    trials: list[Walked] = []
    layers = int(origin.recipe.params.get("layers", ALL_LAYERS))
    most = d.job.spec.max_trials if d.job.spec.on_gate_fail == "Backoff" else 1
    for number in range(1, most + 1):
        stages = stages_of(d.job.spec.stages, number, layers)
        if trials and stages == trials[-1].pipeline.stages:
            break  # there is nothing weaker
        trials.append(walk(d.job, Pipeline(d.job, origin, stages), number, d.seen.children))
        if not trials[-1].over or trials[-1].passed:
            break
    last = trials[-1]
    _tell_of_missed_gates(d, trials)
    d.set(trial=last.number, report=_report(d, trials))
    if last.owed is not None:
        # All stages are looked at before anything is made, and is paid for.
        new = last.owed.name not in d.seen.children
        if new and (wrong := complaint(last.pipeline, origin, d.seen)):
            _end(d, good=False, reason=Reason.INVALID_STAGE, message=wrong)
            return True
        _work(d, origin, trials, last.owed, extra=2)
        return True
    return _conclude(d, origin, trials, outcome(d.job, trials, d.seen.children))


def _conclude(d: CompressionDraft, origin: Origin, trials: Sequence[Walked], found: Outcome) -> bool:
    """Export what is taken, leave the report beside it, and end."""
    walked, stage = found.taken or (trials[-1], None)
    pipeline = walked.pipeline
    d.set(report=_report(d, trials, stage if found.taken else None, walked), summary=_summary(d, walked, stage))
    exported: Step | None = None
    if found.verdict is Verdict.ACCEPTED and stage is not None:
        exported = pipeline.export(walked.step_of(stage.name))
        child = d.seen.children.get(exported.name)
        if child is None or not ended(child) or not figures(child):
            _work(d, origin, trials, exported, extra=1)
            return True
        if not _failed(d, child, exported):
            told = serving.report(d.job, child, d.seen.books, d.spent if d.spent_by_job else None)
            assert d.status.report is not None
            d.set(report=d.status.report.model_copy(update={"serving": told}))
        else:
            return True
    d.set(verdict=found.verdict, artifact=_artifact(d, exported, stage))
    own = [step for trial in trials for step in trial.steps] + ([exported] if exported else [])
    page = pipeline.publish(own, pages.packed(d.job.model_copy(update={"status": d.status})))
    child = d.seen.children.get(page.name)
    if child is None or not ended(child):
        _work(d, origin, trials, page, extra=0)
        return True
    if _failed(d, child, page):
        return True
    good = found.verdict is Verdict.ACCEPTED
    _end(d, good=good, reason=str(found.verdict), message=f"{found.verdict}: {found.message}", event=str(found.verdict))
    return True


def _work(d: CompressionDraft, origin: Origin, trials: Sequence[Walked], step: Step, *, extra: int) -> None:
    """One step: its TrainingJob is there, or made. Those of other steps that still run are of a spec that was changed."""
    child = d.seen.children.get(step.name)
    d.delete([other for other in d.running if other.metadata.name != step.name])
    walked = trials[-1]
    whole = len(walked.steps) + 2
    done = walked.done if walked.owed is not None else whole - 1 - extra
    percent = 100 * (done + _share(child)) / whole
    before = d.status.progress
    again = before.asked_again if before and before.training_job == step.name else 0
    d.set(
        stage=step.stage,
        progress=CompressionProgress(percent=f"{min(percent, 99.9):.1f}", training_job=step.name, asked_again=again),
        start_time=d.status.start_time or at(d.now),
    )
    words = f"stage {step.stage}" + (f", trial {walked.number}" if walked.number > 1 else "")
    if child is None:
        if d.seen.refused:
            d.waiting(Reason.REFUSED, d.seen.refused)
            d.wake(d.now + REFUSED_RETRY_SECONDS)
            return
        body = manifest(d.job, origin, step, trainer_image=d.seen.trainer_image, left_usd=d.left())
        d.actions.append(CreateChild(step.name, body))
        d.condition(c.RUNNING, True, Reason.STAGE_RUNNING, f"{words}: tj/{step.name}")
        d.condition(c.READY, True, Reason.STAGE_RUNNING, words)
        d.say(Phase.RUNNING, f"{words}: tj/{step.name} is made")
        return
    if _failed(d, child, step):
        return
    if c.holds(child.status.conditions, c.COMPLETE):
        _ask_again(d, child, step, again)
        return
    d.suspend([child], suspended=False)
    d.keep_within_budget(child)
    d.condition(c.RUNNING, True, Reason.STAGE_RUNNING, f"{words}: tj/{step.name}")
    d.condition(c.READY, True, Reason.STAGE_RUNNING, words)
    phase = child.status.phase or Phase.PENDING
    d.say(Phase.RUNNING, f"{words}: tj/{step.name} is {phase}")


def _ask_again(d: CompressionDraft, child: TrainingJob, step: Step, times: int) -> None:
    """It has ended without a word of what it found: no operator was there to hear it. What it left is still there, so that a
    second one only has to say so."""
    if times >= ASKED_AGAIN:
        words = (
            f"tj/{step.name} has ended {times + 1} times and its result was never heard: can pods reach the operator?"
        )
        _end(d, good=False, reason=Reason.STAGE_FAILED, message=words)
        return
    d.delete([child])
    assert d.status.progress is not None
    d.set(progress=d.status.progress.model_copy(update={"asked_again": times + 1}))
    d.announce("ResultLost", f"tj/{step.name} has ended and its result was not heard: asking again", warning=True)


def _share(child: TrainingJob | None) -> float:
    progress = child.status.progress if child else None
    return float(progress.percent or 0) / 100 if progress else 0.0


def _failed(d: CompressionDraft, child: TrainingJob, step: Step) -> bool:
    """Ends the job where the step's TrainingJob has failed."""
    if not c.holds(child.status.conditions, c.FAILED):
        return False
    d.set(last_failure=child.status.last_failure or d.status.last_failure, stage=step.stage)
    message = f"stage {step.stage} failed (tj/{child.metadata.name}): {child.status.message}"
    _end(d, good=False, reason=Reason.STAGE_FAILED, message=message)
    return True


def _tell_of_missed_gates(d: CompressionDraft, trials: Sequence[Walked]) -> None:
    known = len(d.status.report.trials) if d.status.report else 0
    for trial in trials[known:]:
        if trial.over and trial.missed:
            told = summary(trial, d.job.spec.gates)
            d.announce(
                "GateMissed", f"trial {trial.number}, stage {told.stage}: {'; '.join(told.missed)}", warning=True
            )


def _report(
    d: CompressionDraft, trials: Sequence[Walked], candidate: Measured | None = None, of: Walked | None = None
) -> Report:
    walked = of or trials[-1]
    stages = [candidate if candidate is not None and s.name == candidate.name else s for s in walked.stages]
    first = d.seen.children.get(walked.steps[0].name)
    environment = (first.status.model.environment or {}) if first and first.status.model else {}
    old = d.status.report
    return Report(
        baseline=walked.baseline,
        stages=stages,
        candidate=candidate.name if candidate else None,
        trials=[summary(trial, d.job.spec.gates) for trial in trials if trial.over],
        environment={name: value for name, value in environment.items() if name != "runtime"},
        serving=old.serving if old else None,
    )


def _summary(d: CompressionDraft, walked: Walked, stage: Measured | None) -> Summary:
    shown, base = stage or walked.stages[-1], walked.baseline
    metric = next((gate.metric for gate in d.job.spec.gates if is_score(gate)), "accuracy")

    def short(text: str | None, digits: int) -> str:
        return "?" if text is None else f"{Decimal(text):.{digits}f}"

    return Summary(
        size=f"{short(shown.size_ratio, 1)}:1",
        speedup=f"{short(shown.speedup, 2)}x",
        score=f"{short(base.scores.get(metric) if base else None, 4)} > {short(shown.scores.get(metric), 4)}",
    )


def _artifact(d: CompressionDraft, exported: Step | None, stage: Measured | None) -> Artifact | None:
    """What was exported; else the folder of the stage that came closest; nothing where the model is withheld."""
    if exported is None:
        return None if stage is None else Artifact(path=stage.path)
    model = d.seen.children[exported.name].status.model
    formats = (model.environment or {}).get("formats", "").split(",") if model else []
    return Artifact(path=exported.folder, formats=[f for f in formats if f], sha256=model.sha256 if model else None)


def _end(d: CompressionDraft, *, good: bool, reason: str, message: str, event: str = "") -> None:
    d.condition(c.COMPLETE if good else c.FAILED, True, reason, message)
    d.condition(c.RUNNING, False, reason, message)
    d.condition(c.READY, good, reason, message)
    d.clear(c.SUSPENDED, reason, message)
    d.suspend(d.running, suspended=True)
    d.set(completion_time=at(d.now), progress=CompressionProgress(percent="100.0") if good else d.status.progress)
    d.say(Phase.SUCCEEDED if good else Phase.FAILED, message)
    cost = f"; {plain(d.spent.quantize(Decimal('0.01')))} USD" if d.spent_by_job else ""
    d.announce(event or reason, message + cost, warning=not good)
    ttl = d.job.spec.ttl_seconds_after_finished
    d.wake(None if ttl is None else int(d.now) + ttl)

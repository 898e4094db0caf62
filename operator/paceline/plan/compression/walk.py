"""A trial, step by step as far as its results go: what was measured, which gates were met, and the first step that is owed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from paceline.api import conditions as c
from paceline.api.compression_rules import SCORES
from paceline.api.compression_status import GateResult, Measured, Trial
from paceline.api.compressionjob import CompressionJob, Gate, Stage
from paceline.api.trainingjob import TrainingJob
from paceline.plan.compression.gates import Figures, due, is_score, judge
from paceline.plan.compression.pipeline import Pipeline, Step
from paceline.plan.compression.seen import figures
from paceline.plan.compression.trials import words


@dataclass
class Walked:
    """``owed``: the first step without a result; None where the trial is over. ``kept``: the last stage that met its gates."""

    number: int
    pipeline: Pipeline
    steps: list[Step]
    baseline: Measured | None = None
    stages: list[Measured] = field(default_factory=list)
    owed: Step | None = None
    missed: list[GateResult] = field(default_factory=list)
    measured: dict[str, Figures] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.owed is None

    @property
    def passed(self) -> bool:
        return self.over and not self.missed

    @property
    def done(self) -> int:
        """Steps that have a result."""
        return len(self.steps) if self.owed is None else self.steps.index(self.owed)

    def step_of(self, stage: str) -> Step:
        """The one that measured a stage."""
        return next(step for step in reversed(self.steps) if step.stage == stage)


def walk(job: CompressionJob, pipeline: Pipeline, number: int, children: Mapping[str, TrainingJob]) -> Walked:
    steps = pipeline.steps
    found = Walked(number, pipeline, steps)
    first, *rest = steps
    if (base := _result(first, children)) is None:
        found.owed = first
        return found
    found.baseline = measured(first, None, children, base, base)
    for index, stage in enumerate(pipeline.stages):
        own = [step for step in rest if step.stage == stage.name]
        owed = next((step for step in own if not _finished(step, children)), None)
        if owed is not None:
            found.owed = owed
            return found
        result = figures(children[own[-1].name])
        gates = [judge(gate, base, result) for gate in due(job.spec.gates, pipeline.stages, index)]
        told = measured(own[-1], stage, children, base, result, own, number)
        found.measured[stage.name] = result
        found.stages.append(told.model_copy(update={"gates": gates}))
        found.missed = [gate for gate in gates if not gate.passed]
        if found.missed:
            return found
    return found


def _finished(step: Step, children: Mapping[str, TrainingJob]) -> bool:
    child = children.get(step.name)
    done = child is not None and c.holds(child.status.conditions, c.COMPLETE)
    return done and child is not None and (step.trains or bool(figures(child)))


def _result(step: Step, children: Mapping[str, TrainingJob]) -> Figures | None:
    return figures(children[step.name]) if _finished(step, children) else None


def measured(
    step: Step,
    stage: Stage | None,
    children: Mapping[str, TrainingJob],
    base: Figures,
    result: Figures,
    steps: Sequence[Step] = (),
    trial: int = 1,
) -> Measured:
    """For the report; ``steps``: all of the stage, whose cost is the stage's."""
    parts = [children[one.name] for one in (steps or [step])]
    child = parts[-1]
    environment = (child.status.model.environment or {}) if child.status.model else {}

    def text(name: str) -> str | None:
        return significant(result[name]) if name in result else None

    def whole(name: str) -> int | None:
        return int(result[name]) if name in result else None

    return Measured(
        name=step.stage,
        method=stage.method if stage else "",
        trial=trial,
        target=words(stage.target) if stage else "",
        path=step.model,
        runtime=environment.get("runtime", ""),
        size_bytes=whole("sizeBytes"),
        parameters=whole("parameters"),
        macs=whole("macs"),
        latency_p50=text("latencyP50"),
        latency_p95=text("latencyP95"),
        latency_p99=text("latencyP99"),
        latency_p50_spread=text("latencyP50Spread"),
        throughput=text("throughput"),
        size_ratio=_ratio(result.get("baselineSizeBytes"), result.get("sizeBytes")),
        speedup=_ratio(result.get("baselineLatencyP50"), result.get("latencyP50")),
        speedup_over_eager=_ratio(result.get("eagerLatencyP50"), result.get("latencyP50")),
        scores={name: f"{value:.4f}" for name, value in result.items() if name in SCORES},
        standard_error=text("accuracyStandardError"),
        samples=whole("evaluationSamples"),
        cost_usd=cost_of(parts),
        seconds=sum(_seconds(part) for part in parts),
    )


def significant(value: Decimal) -> str:
    """Four digits that count: what was measured has no more."""
    return f"{Decimal(f'{value:.4g}'):f}"


def cost_of(children: Sequence[TrainingJob]) -> str | None:
    """Together, USD; None where none of them has a price."""
    known = [
        Decimal(child.status.cost.accrued_usd)
        for child in children
        if child.status.cost and child.status.cost.accrued_usd
    ]
    return f"{sum(known, Decimal(0)):f}" if known else None


def _seconds(child: TrainingJob) -> int:
    status = child.status
    if status.start_time is None or status.completion_time is None:
        return 0
    return int((status.completion_time - status.start_time).total_seconds())


def _ratio(before: Decimal | None, after: Decimal | None) -> str | None:
    return f"{before / after:.2f}" if before is not None and after else None


def summary(walked: Walked, gates: Sequence[Gate]) -> Trial:
    """A trial that is over, in short."""
    last = walked.stages[-1]
    metric = next((gate.metric for gate in gates if is_score(gate)), "accuracy")
    return Trial(
        trial=walked.number,
        targets={s.name: words(s.target) for s in walked.pipeline.stages if words(s.target)},
        passed=walked.passed,
        stage=last.name,
        missed=[f"{gate.metric} {gate.goal} {gate.value}: {gate.reached or 'not measured'}" for gate in walked.missed],
        size_bytes=last.size_bytes,
        latency_p50=last.latency_p50,
        score=last.scores.get(metric),
    )

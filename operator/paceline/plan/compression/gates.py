"""Gates: what is judged after which stage, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from paceline.api.compression_rules import LOWER_SCORES, SCORES
from paceline.api.compression_status import GateResult
from paceline.api.compressionjob import Gate, Stage

Figures = Mapping[str, Decimal]
TRAINED = ("distill.soft", "distill.pseudoLabel", "finetune", "quantize.qat")
# Metrics that are compared with the source as it was measured beside the stage, in the same format and runtime.
BESIDE = {
    "sizeBytes": "baselineSizeBytes",
    "latencyP50": "baselineLatencyP50",
    "latencyP95": "baselineLatencyP95",
    "latencyP99": "baselineLatencyP99",
}
DIGITS = Decimal("0.000001")


def due(gates: Sequence[Gate], stages: Sequence[Stage], index: int) -> list[Gate]:
    """Those to be judged after the stage of this index: all after the last. Before, scores, where no training follows that may
    bring them back; what is to become smaller may still become so."""
    if index == len(stages) - 1:
        return list(gates)
    if stages[index + 1].method in TRAINED:
        return []
    return [gate for gate in gates if is_score(gate)]


def is_score(gate: Gate) -> bool:
    return gate.metric in SCORES


def judge(gate: Gate, baseline: Figures, stage: Figures) -> GateResult:
    """Of a stage against the source. What was not measured does not pass."""
    reached = _reached(gate, baseline, stage)
    asked = Decimal(gate.value)
    passed = reached is not None and (reached <= asked if gate.goal in ("maxDrop", "maxValue") else reached >= asked)
    told = None if reached is None else plain(reached)
    return GateResult(metric=gate.metric, goal=gate.goal, value=gate.value, reached=told, passed=passed)


def _reached(gate: Gate, baseline: Figures, stage: Figures) -> Decimal | None:
    now = stage.get(gate.metric)
    if now is None or gate.goal in ("minValue", "maxValue"):
        return now
    before = stage.get(BESIDE[gate.metric]) if gate.metric in BESIDE else baseline.get(gate.metric)
    if before is None:
        return None
    if gate.goal == "minReduction":
        return 1 - now / before if before else None
    drop = now - before if gate.metric in LOWER_SCORES else before - now
    if not gate.relative:
        return drop
    return drop / abs(before) if before else None


def plain(value: Decimal) -> str:
    """To a millionth, without trailing zeros or an exponent."""
    return f"{value.quantize(DIGITS).normalize():f}" if abs(value) < 10**15 else f"{value:.6e}"

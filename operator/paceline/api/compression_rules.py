"""CEL rules of ``CompressionJob``: pipelines that make no sense are refused at apply, with the reason."""

from __future__ import annotations

from paceline.api.rules import cel, rules, unchanged

# Metrics by what is better, as the measurement reports them.
HIGHER = ("accuracy", "precision", "recall", "f1", "f1_micro", "roc_auc", "throughput")
LOWER_SCORES = ("loss", "perplexity", "calibration_error", "brier")
COSTS = ("sizeBytes", "parameters", "macs", "latencyP50", "latencyP95", "latencyP99")
SCORES = (*HIGHER[:-1], *LOWER_SCORES)
METRICS = (*SCORES, "throughput", *COSTS)

_TRAINED = "s.method.startsWith('distill.') || s.method == 'finetune' || s.method == 'quantize.qat'"

STAGE_LIST_RULES = rules(
    cel("self.all(s, self.exists_one(t, t.name == s.name))", "stages need a name each, and no two the same"),
    cel(
        "self.map(s, s.method.startsWith('quantize.')).indexOf(true) in [-1, size(self) - 1]",
        "a quantize stage must be the last one: what is quantized can be neither pruned nor trained any more",
    ),
    cel(
        "self.all(s, s.method != 'prune.structured' || "
        "(has(s.target) && has(s.target.macsRatio) != has(s.target.parametersRatio)))",
        'prune.structured needs exactly one of target.macsRatio and target.parametersRatio, e.g. target: {macsRatio: "0.5"}',
    ),
    cel(
        "self.all(s, (s.method == 'prune.unstructured') == (has(s.target) && has(s.target.sparsity)))",
        'prune.unstructured, and no other method, needs target.sparsity, e.g. target: {sparsity: "0.7"}',
    ),
    cel(
        "self.all(s, s.method == 'prune.structured' || !has(s.target) || "
        "!(has(s.target.macsRatio) || has(s.target.parametersRatio)))",
        "target.macsRatio and target.parametersRatio are of prune.structured only",
    ),
    cel(
        "self.all(s, s.method.startsWith('distill.') || !has(s.target) || !has(s.target.layers))",
        "target.layers is of distill.soft and distill.pseudoLabel only",
    ),
    cel(
        "self.all(s, !has(s.backend) || s.method.startsWith('quantize.'))",
        "backend is of quantize stages only",
    ),
    cel(
        "self.all(s, !(s.method in ['quantize.weightOnly', 'quantize.qat']) || !has(s.backend) || s.backend == 'torchao')",
        "quantize.weightOnly and quantize.qat have no ONNX Runtime backend: torchao runs what they make; leave backend out, or "
        "take quantize.dynamic or quantize.static",
    ),
    cel(
        "self.all(s, !(s.method in ['quantize.dynamic', 'quantize.static']) || !has(s.backend) || s.backend == 'onnxruntime')",
        "quantize.dynamic and quantize.static are run by ONNX Runtime: leave backend out, or take quantize.weightOnly or "
        "quantize.qat",
    ),
    cel(
        f"self.all(s, !has(s.nodes) || {_TRAINED})",
        "nodes is of stages that train (distill.soft, distill.pseudoLabel, finetune, quantize.qat); a conversion has one",
    ),
)

GATE_RULES = rules(
    cel(
        f"self.all(g, g.metric in {list(METRICS)!r})",
        "gates.metric: no stage reports such a metric; there are: " + ", ".join(METRICS),
    ),
    cel(
        f"self.all(g, g.goal != 'maxDrop' || g.metric in {list(SCORES)!r})",
        "maxDrop is of scores; of size, work and latency take minReduction or maxValue",
    ),
    cel(
        f"self.all(g, g.goal != 'minReduction' || g.metric in {list(COSTS)!r})",
        "minReduction is of sizeBytes, parameters, macs and latencies; of scores take maxDrop or minValue",
    ),
    cel(
        "self.all(g, g.goal == 'maxDrop' || !has(g.relative) || !g.relative)",
        "relative is of maxDrop only: minReduction is a share already",
    ),
)

COMPRESSION_SPEC_RULES = [
    cel(
        "self.onGateFail != 'Backoff' || self.stages.exists(s, has(s.target) && (has(s.target.macsRatio) || "
        "has(s.target.parametersRatio) || has(s.target.sparsity) || has(s.target.layers)))",
        "onGateFail: Backoff needs a stage with a target that can be made weaker",
    ),
    cel(
        "self.onGateFail == 'Stop' || (has(self.gates) && size(self.gates) > 0)",
        "onGateFail needs gates: without any, none can fail",
    ),
    cel(
        "!has(self.cost) || !has(self.cost.stopWhen)",
        "cost.stopWhen is of TrainingJobs: a compression ends by its gates",
    ),
    unchanged("source"),
    unchanged("output"),
]

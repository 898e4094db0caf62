"""A CompressionJob whose status says all that a status can say: the MiniLM classifier, distilled and then quantized."""

from __future__ import annotations

from typing import Any

from paceline.api.compressionjob import CompressionJob

Json = dict[str, Any]
WRITTEN = "2027-01-15T08:00:00Z"
GATES = [
    {"metric": "accuracy", "goal": "maxDrop", "value": "0.01", "relative": True},
    {"metric": "sizeBytes", "goal": "minReduction", "value": "0.5"},
    {"metric": "latencyP95", "goal": "minReduction", "value": "0.2"},
]
SPEC: Json = {
    "source": {"trainingJobRef": {"name": "sentiment"}},
    "stages": [
        {"name": "distil", "method": "distill.soft", "target": {"layers": 3}},
        {"name": "int8", "method": "quantize.dynamic"},
    ],
    "gates": GATES,
    "onGateFail": "Backoff",
    "serving": {"requestsPerMonth": 30000000, "hardware": "c7i.4xlarge", "utilization": "0.4"},
    "cost": {"budget": {"maxUSD": "5"}},
}
BASELINE: Json = {
    "name": "source", "runtime": "onnxruntime", "sizeBytes": 91034112, "parameters": 22713216, "macs": 353894400,
    "latencyP50": "10.912", "latencyP95": "11.480", "latencyP99": "12.713", "latencyP50Spread": "0.310",
    "throughput": "91.64", "scores": {"accuracy": "0.9106", "loss": "0.2714"}, "standardError": "0.0096", "samples": 872,
    "seconds": 67, "costUSD": "0.0021", "path": "/models/sentiment",
}  # fmt: skip
DISTILLED: Json = {
    "name": "distil", "method": "distill.soft", "trial": 2, "target": "layers 3", "runtime": "onnxruntime",
    "path": "/models/sentiment-small/distil-2", "sizeBytes": 69712384, "parameters": 17389824, "macs": 176947200,
    "latencyP50": "5.630", "latencyP95": "5.911", "latencyP99": "6.402", "latencyP50Spread": "0.205", "throughput": "177.62",
    "sizeRatio": "1.306", "speedup": "1.938", "speedupOverEager": "3.517",
    "scores": {"accuracy": "0.9048", "loss": "0.2855"}, "standardError": "0.0099", "samples": 872, "costUSD": "0.4137",
    "seconds": 1391,
}  # fmt: skip
QUANTIZED: Json = {
    "name": "int8", "method": "quantize.dynamic", "trial": 2, "runtime": "onnxruntime",
    "path": "/models/sentiment-small/int8-2", "sizeBytes": 17694720, "parameters": 17389823, "macs": 176947199,
    "latencyP50": "2.317", "latencyP95": "2.544", "latencyP99": "2.981", "latencyP50Spread": "0.118", "throughput": "431.59",
    "sizeRatio": "5.145", "speedup": "4.710", "speedupOverEager": "8.546",
    "scores": {"accuracy": "0.9025", "loss": "0.2902"}, "standardError": "0.0101", "samples": 872, "costUSD": "0.0118",
    "seconds": 94,
    "gates": [
        {"metric": "accuracy", "goal": "maxDrop", "value": "0.01", "reached": "0.0089", "passed": True},
        {"metric": "sizeBytes", "goal": "minReduction", "value": "0.5", "reached": "0.8056", "passed": True},
        {"metric": "latencyP95", "goal": "minReduction", "value": "0.2", "reached": "0.7784", "passed": True},
    ],
}  # fmt: skip
TRIALS = [
    {"trial": 1, "targets": {"distil": "layers 2"}, "passed": False, "stage": "int8", "missed": ["accuracy maxDrop 0.01"],
     "sizeBytes": 14155776, "latencyP50": "1.702", "score": "0.8773"},
    {"trial": 2, "targets": {"distil": "layers 3"}, "passed": True, "stage": "int8", "sizeBytes": 17694720,
     "latencyP50": "2.317", "score": "0.9025"},
]  # fmt: skip
SERVING: Json = {
    "usdPerMillionBefore": "5.9031", "usdPerMillionAfter": "1.2619", "breakEvenRequests": "194712", "breakEvenDays": "0.197",
    "usdSavedPerMonth": "139.24", "requestsPerSecondBefore": "84.01", "requestsPerSecondAfter": "393.02", "usdPerHour": "0.7140",
    "assumptions": ["one server with one thread, as the serving check had", "price of c7i.4xlarge, on demand, as of 2026-11-20"],
}  # fmt: skip
REPORT: Json = {
    "baseline": BASELINE,
    "stages": [DISTILLED, QUANTIZED],
    "candidate": "int8",
    "trials": TRIALS,
    "environment": {
        "device": "cpu, AMD EPYC 9R14",
        "threads": "1",
        "batch": "1",
        "torch": "2.15.0",
        "onnxruntime": "1.32.1",
    },
    "serving": SERVING,
}
COST = {
    "accruedUSD": "0.9037", "hourlyRateUSD": "0.0000", "sourceUSD": "12.5082", "budgetUsedRatio": "0.1807",
    "priceSource": "default: c7i.4xlarge us-east-1, on-demand, list",
}  # fmt: skip


def full_status(**more: Any) -> Json:
    return {
        "phase": "Succeeded",
        "message": "all gates were met in trial 2",
        "startTime": "2027-01-15T07:10:00Z",
        "completionTime": WRITTEN,
        "stage": "int8",
        "trial": 2,
        "verdict": "Accepted",
        "report": REPORT,
        "artifact": {"path": "/models/sentiment-small/artifact", "formats": ["onnx"], "sha256": "a1b2c3"},
        "cost": COST,
    } | more


def compression_object(status: Json | None = None, name: str = "small", **spec: Any) -> Json:
    """As the API server has it."""
    meta = {"name": name, "namespace": "ml", "uid": f"{name}-uid", "creationTimestamp": "2027-01-15T07:00:00Z"}
    return {"metadata": meta, "spec": SPEC | spec, "status": status or {}}


def compression(status: Json | None = None, name: str = "small", **spec: Any) -> CompressionJob:
    return CompressionJob.parse(compression_object(status, name, **spec))


def stage(base: Json, **more: Any) -> Json:
    return base | more


def report(**more: Any) -> Json:
    return {**REPORT, **more}

"""What a candidate is against the uncompressed model: its size, latency and scores, as the metrics that are reported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from paceline_trainer.artifact import WEIGHTS
from paceline_trainer.compress.graph import export_onnx
from paceline_trainer.compress.measure import Latency, interleaved
from paceline_trainer.compress.request import Measure
from paceline_trainer.compress.runtimes import ONNXRUNTIME, Eager, Onnx, Runtime
from paceline_trainer.compress.scores import logits, scores
from paceline_trainer.compress.subject import Data, served
from paceline_trainer.compress.telling import Telling
from paceline_trainer.loaded import Loaded

Metrics = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """A model in the runtime that serves it. ``size_bytes`` of the file that is served; ``counts``: parameters, nonzeroParameters
    and macs of its float form; ``reached``: what a target came to."""

    runtime: Runtime
    size_bytes: int
    counts: Mapping[str, float]
    reached: Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """The uncompressed model in both runtimes. ``onnx`` is a file outside of its folder, which is not written to."""

    folder: Path
    loaded: Loaded
    module: nn.Module
    data: Data
    onnx: Path

    def size_bytes(self, runtime: str) -> int:
        """Of the file that this runtime would serve."""
        path = self.onnx if runtime == ONNXRUNTIME else self.folder / self.loaded.manifest.get("weights", WEIGHTS)
        return path.stat().st_size


def source_of(folder: Path, loaded: Loaded, data: Data, work: Path, measure: Measure) -> Source:
    """Exports it into ``work``."""
    module, onnx = served(loaded.model), work / "source.onnx"
    export_onnx(module, data.example(2, measure.tokens), onnx)
    return Source(folder, loaded, module, data, onnx)


def judged(
    candidate: Candidate, source: Source, measure: Measure, telling: Telling, begin: float, end: float
) -> Metrics:
    """The metrics; ``begin`` and ``end``: the percentages of the work that this is."""
    inputs = source.data.example(measure.batch, measure.tokens)
    beside: dict[str, Runtime] = {
        "eager": Eager(source.module),
        "onnx": Onnx(source.onnx, measure.threads),
        "candidate": candidate.runtime,
    }
    middle = (begin + end) / 2
    telling.step("measuring", f"measuring {measure.runs} runs of each model, in turns", begin, middle)
    runs = {name: _bound(runtime, inputs) for name, runtime in beside.items()}
    found = interleaved(runs, measure.runs, progress=telling.progress)
    telling.step("evaluating", f"evaluating {len(source.data.evaluation)} samples", middle, end)
    outputs = logits(candidate.runtime, source.data.evaluation, telling.progress)
    on_onnx = candidate.runtime.name == ONNXRUNTIME
    return {
        "sizeBytes": candidate.size_bytes,
        "baselineSizeBytes": source.size_bytes(candidate.runtime.name),
        **candidate.counts,
        **candidate.reached,
        **latencies(found["candidate"], found["onnx" if on_onnx else "eager"], measure.batch),
        "eagerLatencyP50": found["eager"].percentile(50),
        "onnxLatencyP50": found["onnx"].percentile(50),
        **scores(source.data, outputs),
    }


def _bound(runtime: Runtime, inputs: torch.Tensor) -> Callable[[], object]:
    return lambda: runtime(inputs)


def latencies(candidate: Latency, baseline: Latency, batch: int) -> Metrics:
    """``batch`` samples a run."""
    return {
        f"{prefix}{name}" if prefix else name[0].lower() + name[1:]: value
        for prefix, latency in (("", candidate), ("baseline", baseline))
        for name, value in {
            "LatencyP50": latency.percentile(50),
            "LatencyP95": latency.percentile(95),
            "LatencyP99": latency.percentile(99),
            "LatencyP50Spread": latency.spread,
            "Throughput": 1000 * batch / latency.mean,
        }.items()
    }


def environment(runtime: str, measure: Measure, *, texts: bool) -> dict[str, str]:
    """Under which the figures hold."""
    return {
        "device": "cpu",
        "cpu": cpu_model(),
        "threads": str(measure.threads),
        "batch": str(measure.batch),
        **({"tokens": str(measure.tokens)} if texts else {}),
        "runs": str(measure.runs),
        "runtime": runtime,
        "torch": torch.__version__,
        "onnxruntime": version("onnxruntime"),
        "torchao": version("torchao"),
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def summary(metrics: Mapping[str, float], runtime: str, source: Source, measure: Measure) -> str:
    """For people: the candidate beside the uncompressed model in the same runtime."""
    samples = int(metrics["evaluationSamples"])
    before = source.loaded.manifest.get("metrics", {}).get("accuracy")
    rows = [
        ("", "size", "p50", "p95", "", "accuracy"),
        (
            f"uncompressed, {runtime}",
            _megabytes(metrics["baselineSizeBytes"]),
            _milliseconds(metrics["baselineLatencyP50"]),
            _milliseconds(metrics["baselineLatencyP95"]),
            "",
            "-" if before is None else f"{before:.4f}",
        ),
        (
            f"this one, {runtime}",
            _megabytes(metrics["sizeBytes"]),
            _milliseconds(metrics["latencyP50"]),
            _milliseconds(metrics["latencyP95"]),
            speed(
                metrics["latencyP50"],
                metrics["baselineLatencyP50"],
                max(metrics["latencyP50Spread"], metrics["baselineLatencyP50Spread"]),
            ),
            f"{metrics['accuracy']:.4f} ± {metrics['accuracyStandardError']:.4f}",
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    tokens = f", {measure.tokens} tokens" if source.data.texts else ""
    lines.append(
        f"batch {measure.batch}{tokens}, {measure.threads} threads, {cpu_model()}; {samples} samples that were not trained on; "
        f"medians of the rounds are {metrics['latencyP50Spread']:.3f} ms apart (uncompressed "
        f"{metrics['baselineLatencyP50Spread']:.3f}); uncompressed in eager PyTorch {metrics['eagerLatencyP50']:.3f} ms"
    )
    return "\n".join(lines)


def speed(latency: float, baseline: float, spread: float) -> str:
    """In words; all in the same unit. ``spread``: how far rounds of the same model are apart."""
    words = f"{baseline / latency:.2f}× faster" if latency <= baseline else f"{latency / baseline:.2f}× slower"
    return f"{words}, within the spread" if abs(latency - baseline) <= spread else words


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.3f} MB"


def _milliseconds(value: float) -> str:
    return f"{value:.3f} ms"

"""A model in the formats it is to be used in, each of which is read again in a fresh process; then it is served for a while."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save as serialized

from paceline_trainer import artifact
from paceline_trainer.compress import prune
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.folders import (
    FILES,
    ONNX_FILE,
    TORCH_FILE,
    content_of,
    finished,
    fresh_model,
    listed,
    runtime_of,
)
from paceline_trainer.compress.graph import export_onnx, export_torch
from paceline_trainer.compress.judge import Candidate, Source, environment, judged, source_of, summary
from paceline_trainer.compress.request import Export
from paceline_trainer.compress.runtimes import Eager, Onnx, Runtime
from paceline_trainer.compress.serve import batches, served_in_turns
from paceline_trainer.compress.stage import FORMATS, asked_for, reported
from paceline_trainer.compress.subject import data_of, float_model, same_data, served
from paceline_trainer.compress.telling import Telling
from paceline_trainer.compress.verify import expected, reloaded
from paceline_trainer.loaded import load, manifest_of

# Why a format is left out, by the kind of model: said in the result, not an error.
CANNOT = {
    ("onnx", "safetensors"): "what ONNX Runtime has quantized is a graph, not weights",
    ("onnx", "torchExport"): "what ONNX Runtime has quantized is no PyTorch program",
    ("torchao", "onnx"): "torch's exporter has no ONNX for torchao's tensors: quantize with ONNX Runtime instead",
    ("torchao", "torchExport"): "torch.export pickles torchao's tensors, and no pickle is written: take safetensors",
}


@dataclass(frozen=True)
class Model:
    """The input: its ``manifest``, and ``reference``, that which exported files are compared with. ``files`` by name."""

    kind: str
    manifest: dict[str, Any]
    reference: Runtime
    candidate: Candidate
    files: dict[str, bytes]
    served: list[str]


def run(request: Export, telling: Telling) -> dict[str, Any]:
    """The manifest of what lies in the output, which is made unless this very request has made it already. Raises ModelError,
    CompressionError."""
    asked = asked_for(request)
    if (manifest := finished(request.output, asked)) is not None:
        telling.say(f"{request.output} holds the result of this request already: nothing is computed again")
    else:
        with TemporaryDirectory(prefix="paceline-export-") as work:
            manifest = _made(request, asked, Path(work), telling)
    told = reported(request.output, manifest)
    telling.finish(told | {"environment": told["environment"] | {"formats": ",".join(manifest["formats"])}})
    return manifest


def _made(request: Export, asked: dict[str, Any], work: Path, telling: Telling) -> dict[str, Any]:
    torch.set_num_threads(request.measure.threads)
    telling.step("loading", "loading the models and their data", 0, 5)
    original = float_model(request.source)
    manifest = manifest_of(request.input)
    same_data(original, manifest["dataset"])
    kind = manifest.get("kind", "float")
    notes = {one: CANNOT[kind, one] for one in request.formats if (kind, one) in CANNOT}
    formats = [one for one in request.formats if one not in notes]
    for one, why in notes.items():
        telling.say(f"{one} is left out: {why}")
    if not formats:
        raise CompressionError(f"formats: none of {', '.join(request.formats)} can be made of this model ({kind})")
    telling.step("compressing", "exporting", 5, 20)
    source = source_of(request.source, original, data_of(original.recipe, original.params), work, request.measure)
    model = _float(request, manifest, source, work) if kind == "float" else _quantized(request, manifest, source, work)
    files = {FILES[one]: model.files[FILES[one]] for one in formats}
    main = FILES["onnx"] if FILES["onnx"] in files else next(iter(files))
    keys = ("recipe", "params", "dataset", "scheme", "quantizedLayers")
    kept: dict[str, Any] = {key: manifest[key] for key in keys if key in manifest}
    facts: dict[str, Any] = {
        **kept,
        "kind": kind,
        "format": "onnx" if main == ONNX_FILE else FORMATS[kind] if main == artifact.WEIGHTS else "torchExport",
        "formats": formats,
        "notes": notes,
        "files": listed(files),
        "weights": main,
        "sha256": listed(files)[main]["sha256"],
        "parameters": int(model.candidate.counts["parameters"]),
        "evaluatedAs": {"recipe": original.recipe, "params": original.manifest["params"]},
    }
    draft = work / "draft"
    artifact.write(draft, files, facts)
    checks = _checked(request, draft, model, source, formats, work, telling)
    metrics = judged(model.candidate, source, request.measure, telling, 35, 60)
    metrics |= _served(request, model, source, work, telling)
    final = {
        **facts,
        "reloaded": checks,
        "metrics": metrics,
        "environment": environment(model.candidate.runtime.name, request.measure, texts=source.data.texts),
        "request": asked,
    }
    artifact.write(request.output, files, final)
    for name in set(FILES.values()) - set(files):  # of an earlier export
        (request.output / name).unlink(missing_ok=True)
    telling.say(summary(metrics, model.candidate.runtime.name, source, request.measure))
    telling.say(f"exported to {request.output}: {', '.join(files)}")
    return final


def _float(request: Export, manifest: dict[str, Any], source: Source, work: Path) -> Model:
    loaded, measure = load(request.input), request.measure
    module, example = served(loaded.model), source.data.example(2, request.measure.tokens)
    onnx = work / ONNX_FILE
    export_onnx(module, example, onnx)
    weights = {name: weight.detach().contiguous().clone() for name, weight in loaded.model.state_dict().items()}
    files = {artifact.WEIGHTS: serialized(weights), ONNX_FILE: onnx.read_bytes()}
    if "torchExport" in request.formats:
        program = work / TORCH_FILE
        export_torch(module, example, program)
        files[TORCH_FILE] = program.read_bytes()
    size = prune.size(module, source.data.example(1, measure.tokens))
    counts = {"parameters": size.parameters, "nonzeroParameters": size.nonzero, "macs": size.macs}
    candidate = Candidate(Onnx(onnx, measure.threads), len(files[ONNX_FILE]), counts, _reached(manifest))
    return Model("float", manifest, Eager(module), candidate, files, ["--onnx", str(onnx)])


def _quantized(request: Export, manifest: dict[str, Any], source: Source, work: Path) -> Model:
    kind, threads = manifest["kind"], request.measure.threads
    name = ONNX_FILE if kind == "onnx" else artifact.WEIGHTS
    fmt = "onnx" if kind == "onnx" else "safetensors"
    files = {name: content_of(request.input, manifest, name)}
    runtime = runtime_of(request.input, manifest, fmt, threads, fresh_model(request.input, manifest))
    figures = manifest["metrics"]
    counts = {key: figures[key] for key in ("parameters", "nonzeroParameters", "macs")}
    candidate = Candidate(runtime, len(files[name]), counts, _reached(manifest))
    server = ["--onnx", str(request.input / name)] if kind == "onnx" else ["--folder", str(request.input)]
    return Model(kind, manifest, runtime, candidate, files, server)


def _reached(manifest: dict[str, Any]) -> dict[str, float]:
    """What the stage before has reached of its target."""
    return {key: value for key, value in manifest.get("metrics", {}).items() if key.startswith("reached")}


def _checked(
    request: Export, draft: Path, model: Model, source: Source, formats: list[str], work: Path, telling: Telling
) -> dict[str, dict[str, float]]:
    telling.step("evaluating", "reading the exported files in a fresh process", 20, 35)
    wanted = expected(model.reference, source.data)
    checks = {}
    for number, one in enumerate(formats):
        checks[one] = reloaded(draft, one, request.measure.threads, wanted, work)
        telling.say(
            f"{one}: read again in a fresh process, logits differ by {checks[one]['maxDifference']:.1e} at most, the predictions "
            "are the same"
        )
        telling.progress(number + 1, len(formats))
    return checks


def _served(request: Export, model: Model, source: Source, work: Path, telling: Telling) -> dict[str, float]:
    measure, threads = request.measure, request.measure.threads
    telling.step("serving", f"serving each model for {request.serve_seconds} s", 60, 98)
    mine, theirs = work / "batches.npz", work / "baseline.npz"
    batches(mine, model.candidate.runtime, source.data, measure.batch, measure.tokens)
    batches(theirs, Onnx(source.onnx, threads), source.data, measure.batch, measure.tokens)
    more = ["--threads", str(threads)]
    servers = {
        "candidate": ([*model.served, *more], mine),
        "baseline": (["--onnx", str(source.onnx), *more], theirs),
    }
    found = served_in_turns(servers, request.serve_seconds, telling.progress)
    candidate, baseline = found["candidate"], found["baseline"]
    telling.say(
        f"served over HTTP: {candidate.throughput:.1f} requests/s (p50 {candidate.percentile(50):.2f} ms, p95 "
        f"{candidate.percentile(95):.2f} ms), uncompressed {baseline.throughput:.1f} requests/s; every answer was right"
    )
    return {
        "servedThroughput": candidate.throughput,
        "servedLatencyP50": candidate.percentile(50),
        "servedLatencyP95": candidate.percentile(95),
        "baselineServedThroughput": baseline.throughput,
    }

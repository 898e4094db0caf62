"""One stage: the input is converted, judged beside the uncompressed model, and written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save as serialized

from paceline_trainer import artifact
from paceline_trainer.compress.convert import Converted, convert
from paceline_trainer.compress.folders import FILES, finished, listed
from paceline_trainer.compress.judge import environment, judged, source_of, summary
from paceline_trainer.compress.request import Export, Stage, identity
from paceline_trainer.compress.subject import data_of, float_model, same_data
from paceline_trainer.compress.telling import Telling
from paceline_trainer.loaded import Loaded, manifest_of

FORMATS = {"float": "safetensors", "onnx": "onnx", "torchao": "torchao"}


def run(request: Stage, telling: Telling) -> dict[str, Any]:
    """The manifest of what lies in the output, which is made unless this very request has made it already. Raises ModelError,
    CompressionError."""
    asked = asked_for(request)
    if (manifest := finished(request.output, asked)) is not None:
        telling.say(f"{request.output} holds the result of this request already: nothing is computed again")
    else:
        with TemporaryDirectory(prefix="paceline-compress-") as work:
            manifest = _made(request, asked, Path(work), telling)
    telling.finish(reported(request.output, manifest))
    return manifest


def asked_for(request: Stage | Export) -> dict[str, Any]:
    """What makes two requests the same: their fields, and the models that are in their folders now."""
    folders = {"sourceSha256": request.source, "inputSha256": request.input}
    shas = {name: manifest_of(folder)["sha256"] for name, folder in folders.items()}
    # As JSON has it, as that is what it is compared with.
    asked: dict[str, Any] = json.loads(json.dumps({**identity(request), **shas}))
    return asked


def reported(output: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The model as the final report says it."""
    return {
        "path": str(output.absolute()),
        "format": manifest["format"],
        "sha256": manifest["sha256"],
        "metrics": manifest["metrics"],
        "environment": manifest["environment"],
    }


def _made(request: Stage, asked: dict[str, Any], work: Path, telling: Telling) -> dict[str, Any]:
    torch.manual_seed(request.seed)
    torch.set_num_threads(request.measure.threads)
    telling.step("loading", "loading the models and their data", 0, 5)
    loaded, original = float_model(request.input), float_model(request.source)
    same_data(original, loaded.task.dataset)
    data = data_of(original.recipe, original.params)
    telling.step("compressing", "exporting the uncompressed model", 5, 15)
    source = source_of(request.source, original, data, work, request.measure)
    began = time.monotonic()
    telling.step("compressing", f"{request.method} of {request.input}", 15, 40)
    converted = convert(request, loaded, data, work, telling.say)
    seconds = time.monotonic() - began
    candidate = converted.candidate
    metrics = judged(candidate, source, request.measure, telling, 40, 98)
    facts = {
        "recipe": loaded.recipe,
        "params": loaded.manifest["params"],
        "dataset": loaded.task.dataset,
        "world_size": 1,
        "seconds": round(seconds, 3),
        "kind": converted.kind,
        "format": FORMATS[converted.kind],
        "metrics": metrics,
        "environment": environment(candidate.runtime.name, request.measure, texts=data.texts),
        "request": asked,
        **converted.facts,
    }
    manifest = _written(request.output, loaded, converted, facts)
    telling.say(summary(metrics, candidate.runtime.name, source, request.measure))
    telling.say(f"model: {request.output} ({manifest['format']}, sha256 {manifest['sha256']})")
    return manifest


def _written(output: Path, loaded: Loaded, converted: Converted, facts: dict[str, Any]) -> dict[str, Any]:
    if converted.kind == "float":
        state = {name: weight.detach().contiguous().clone() for name, weight in loaded.model.state_dict().items()}
        report = {"evaluation": facts["metrics"], "samples": facts["metrics"]["evaluationSamples"], "loss_by_epoch": []}
        facts["files"] = listed({artifact.WEIGHTS: serialized(state)})
        manifest = artifact.save(output, state, facts, report)
        kept = {artifact.WEIGHTS}
    else:
        (name,) = converted.files
        files = listed(converted.files)
        parameters = facts["metrics"]["parameters"]
        manifest = {**facts, "weights": name, **files[name], "files": files, "parameters": parameters}
        artifact.write(output, converted.files, manifest)
        kept = set(converted.files)
    for name in set(FILES.values()) - kept:  # of an earlier result of another kind
        (output / name).unlink(missing_ok=True)
    return manifest

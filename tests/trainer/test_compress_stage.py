"""A stage from its request to what lies in its folder, with real models and the digits."""

from __future__ import annotations

import json
import math

import pytest
import torch

from paceline_trainer import artifact
from paceline_trainer.compress import stage
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.folders import content_of
from paceline_trainer.compress.subject import data_of
from paceline_trainer.compress.telling import Telling
from paceline_trainer.loaded import ModelError, load, manifest_of
from paceline_trainer.recipes import LinearRegression
from tests.trainer.compressing import pickled, request, run_stage

LATENCIES = {"latencyP50", "latencyP95", "latencyP99", "latencyP50Spread", "throughput"}
BASELINE = {f"baseline{name[0].upper()}{name[1:]}" for name in LATENCIES}
METRICS = {
    *LATENCIES,
    *BASELINE,
    *("sizeBytes", "baselineSizeBytes", "parameters", "nonzeroParameters", "macs", "eagerLatencyP50", "onnxLatencyP50"),
    *("evaluationSamples", "accuracyStandardError", "accuracy", "precision", "recall", "f1", "f1_micro", "roc_auc"),
    *("loss", "perplexity", "calibration_error", "brier"),
}


@pytest.fixture(scope="module")
def int8(source, tmp_path_factory):
    """A stage of int8, and its manifest."""
    folder = tmp_path_factory.mktemp("stage") / "int8"
    return folder, run_stage(source, folder, "quantize.dynamic")


def test_a_stage_that_only_measures_holds_a_model_that_can_be_loaded(source, tmp_path, capsys):
    manifest = run_stage(source, tmp_path / "none", "none")
    again, before = load(tmp_path / "none"), load(source)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(again.model(x), before.model(x))
    assert set(manifest["metrics"]) == METRICS
    assert all(math.isfinite(value) for value in manifest["metrics"].values())
    assert manifest["metrics"]["sizeBytes"] == manifest["metrics"]["baselineSizeBytes"]
    assert manifest["environment"]["runtime"] == "onnxruntime"
    assert "this one, onnxruntime" in capsys.readouterr().out
    assert not [found for path in (tmp_path / "none").iterdir() for found in pickled(path)]


def test_a_pruned_model_is_the_next_stages_input(source, tmp_path):
    pruned = run_stage(source, tmp_path / "pruned", "prune.structured", target={"macsRatio": 0.5})
    figures = pruned["metrics"]
    assert figures["reachedMacsRatio"] <= 0.5
    assert figures["macs"] == sum_of_macs(load(tmp_path / "pruned").model)
    assert figures["nonzeroParameters"] <= figures["parameters"] == pruned["parameters"]
    weights = run_stage(
        source, tmp_path / "int4", "quantize.qat", input=tmp_path / "pruned", params={"scheme": "int8-dynamic"}
    )
    assert (weights["kind"], weights["format"], weights["environment"]["runtime"]) == ("torchao", "torchao", "pytorch")
    assert weights["quantizedLayers"] == ["layers.hidden.0", "layers.out"]
    assert weights["metrics"]["macs"] == figures["macs"]
    assert weights["metrics"]["sizeBytes"] == (tmp_path / "int4" / "model.safetensors").stat().st_size
    assert weights["metrics"]["baselineSizeBytes"] == (source / "model.safetensors").stat().st_size
    assert not [found for path in (tmp_path / "int4").iterdir() for found in pickled(path)]


def sum_of_macs(model):
    from paceline_trainer.compress.prune import size

    return size(model, torch.rand(1, 1, 28, 28)).macs


def test_a_quantized_model_is_a_graph_and_is_not_converted_again(source, int8, tmp_path):
    folder, manifest = int8
    assert (manifest["kind"], manifest["weights"]) == ("onnx", "model.onnx")
    assert manifest["metrics"]["sizeBytes"] * 3 < manifest["metrics"]["baselineSizeBytes"]
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "manifest.json"}
    assert not [found for path in folder.iterdir() for found in pickled(path)]
    with pytest.raises(CompressionError, match="is quantized"):
        run_stage(source, tmp_path / "more", "prune.unstructured", input=folder, target={"sparsity": 0.5})
    assert not (tmp_path / "more").exists()


def test_the_same_request_computes_nothing_again_and_another_does(source, int8, monkeypatch):
    folder, manifest = int8
    computed = []
    monkeypatch.setattr(stage, "_made", lambda *arguments: computed.append(arguments[0]) or manifest)
    assert run_stage(source, folder, "quantize.dynamic") == manifest
    assert computed == []
    run_stage(source, folder, "quantize.dynamic", params={"per_channel": True})
    run_stage(source, folder, "quantize.dynamic", seed=1)
    assert len(computed) == 2
    content = (folder / "model.onnx").read_bytes()
    try:
        (folder / "model.onnx").write_bytes(content[:-1])
        with pytest.raises(ModelError, match="its sha256 differs"):
            content_of(folder, manifest, "model.onnx")
        run_stage(source, folder, "quantize.dynamic")
        assert len(computed) == 3, "a broken result is made anew"
    finally:
        (folder / "model.onnx").write_bytes(content)


def test_another_model_in_the_same_place_is_another_request(source, tmp_path):
    asked = request("stage", source=source, input=source, output=tmp_path, method="none")
    before = stage.asked_for(asked)
    path = source / artifact.MANIFEST
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(json.dumps({**json.loads(text), "sha256": "0" * 64}), encoding="utf-8")
        assert stage.asked_for(asked) != before
    finally:
        path.write_text(text, encoding="utf-8")


def test_the_operator_is_told(source, int8, operator, monkeypatch):
    folder, manifest = int8
    environ, reports = operator
    asked = request("stage", source=source, input=source, output=folder, method="quantize.dynamic")
    stage.run(asked, Telling(environ))
    model = reports[-1]["model"]
    assert reports[-1]["progressPercentage"] == 100
    assert (model["path"], model["format"], model["sha256"]) == (str(folder), "onnx", manifest["sha256"])
    assert {one["name"] for one in model["metrics"]} == METRICS
    assert {"name": "sizeBytes", "value": str(manifest["metrics"]["sizeBytes"])} in model["metrics"]
    assert model["environment"] == manifest["environment"]


def test_what_is_no_classifier_or_of_other_data_is_refused(source, tmp_path):
    with pytest.raises(CompressionError, match="it is no classifier"):
        data_of("linear-regression", LinearRegression())
    other = tmp_path / "other"
    other.mkdir()
    for path in source.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    facts = {**manifest_of(source), "recipe": "linear-regression", "params": {}}
    (other / artifact.MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ModelError, match="do not fit"):
        run_stage(source, tmp_path / "out", "none", input=other)

"""Exports are read again in a fresh process and served; what is not the model that was measured is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
import torch

from paceline_trainer.compress import exports, stage
from paceline_trainer.compress.client import asked
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.folders import fresh_model, runtime_of
from paceline_trainer.compress.graph import export_torch, load_torch, without_pickle
from paceline_trainer.compress.runtimes import Eager
from paceline_trainer.compress.scores import logits
from paceline_trainer.compress.serve import serving
from paceline_trainer.compress.server import served_by
from paceline_trainer.compress.telling import Telling
from paceline_trainer.compress.verify import Expected, compared
from paceline_trainer.loaded import ModelError, load
from tests.trainer.compressing import pickled, request, run_stage, some_texts, tiny_text
from tests.trainer.conftest import ROOT, environment


@pytest.fixture(scope="module", autouse=True)
def _package():
    """The processes that an export starts find the package."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(ROOT / "trainer_image"))
        patched.setenv("PYTHONDONTWRITEBYTECODE", "")
        yield


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """All formats of the CNN, and the manifest."""
    folder = tmp_path_factory.mktemp("export") / "all"
    formats = ["safetensors", "onnx", "torchExport"]
    asked_for = request("export", source=source, input=source, output=folder, formats=formats, serveSeconds=1)
    return folder, exports.run(asked_for, Telling({}))


def test_every_format_says_the_same_in_a_fresh_process(exported, cnn, digits):
    folder, manifest = exported
    assert manifest["formats"] == ["safetensors", "onnx", "torchExport"]
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert set(manifest["files"]) == {"model.safetensors", "model.onnx", "model.pt2"}
    assert all(one["maxDifference"] < 1e-3 for one in manifest["reloaded"].values())
    assert manifest["sha256"] == manifest["files"]["model.onnx"]["sha256"]
    expected = logits(Eager(cnn), digits.evaluation)
    for fmt in manifest["formats"]:
        runtime = runtime_of(folder, manifest, fmt, 1, fresh_model(folder, manifest))
        torch.testing.assert_close(logits(runtime, digits.evaluation), expected, atol=1e-4, rtol=1e-4)


def test_it_was_served_and_every_answer_was_right(exported):
    _, manifest = exported
    names = ("servedThroughput", "servedLatencyP50", "servedLatencyP95", "baselineServedThroughput")
    assert all(manifest["metrics"][name] > 0 for name in names)
    assert len(manifest["metrics"]) <= 60


def test_no_pickle_is_written(exported):
    folder, _ = exported
    assert not [found for path in folder.iterdir() for found in pickled(path)]


def test_the_second_export_computes_nothing(source, exported, monkeypatch):
    folder, manifest = exported
    monkeypatch.setattr(exports, "_made", lambda *arguments: pytest.fail("computed again"))
    formats = ["safetensors", "onnx", "torchExport"]
    again = request("export", source=source, input=source, output=folder, formats=formats, serveSeconds=1)
    assert exports.run(again, Telling({})) == manifest


def test_a_corrupted_file_is_refused_by_a_fresh_process(exported, tmp_path):
    folder, manifest = exported
    content = (folder / "model.onnx").read_bytes()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "model.onnx").write_bytes(content[:-100] + bytes(100))
    arguments = ["--folder", str(tmp_path), "--format", "onnx", "--samples", "4", "--outputs", str(tmp_path / "o.npy")]
    done = subprocess.run(
        [sys.executable, "-m", "paceline_trainer.compress.reload", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2
    assert "its sha256 differs" in done.stderr
    assert not (tmp_path / "o.npy").exists()


def test_formats_that_make_no_sense_are_refused(source, tmp_path):
    run_stage(source, tmp_path / "int8", "quantize.weightOnly")
    wanted = request(
        "export", source=source, input=tmp_path / "int8", output=tmp_path / "out", formats=["onnx", "torchExport"]
    )
    with pytest.raises(CompressionError, match=r"none of onnx, torchExport can be made of this model \(torchao\)"):
        exports.run(wanted, Telling({}))
    manifest = stage.manifest_of(tmp_path / "int8")
    (tmp_path / "int8" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="its sha256 differs"):
        runtime_of(tmp_path / "int8", manifest, "safetensors", 1, load(source))


OUTPUTS = torch.tensor([[2.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("found", "accuracy", "words"),
    [
        (OUTPUTS + 0.01, 0.5, "logits differ by up to 0.01"),
        (OUTPUTS.flip(1), 0.5, "2 of 2 predictions"),
        (OUTPUTS * float("nan"), 0.5, "differ by up to nan"),
        (OUTPUTS, 1.0, r"accuracy of 0.5000 \(1.0000\)"),
        (OUTPUTS[:1], 0.5, r"outputs of shape \(1, 2\)"),
    ],
)
def test_another_models_answers_are_refused(found, accuracy, words):
    with pytest.raises(CompressionError, match=words):
        compared("onnx", Expected(OUTPUTS, 0.5), Expected(found, accuracy))
    assert compared("onnx", Expected(OUTPUTS, 0.5), Expected(OUTPUTS, 0.5))["maxDifference"] == 0


def test_a_program_holds_no_pickle_and_one_that_does_is_not_loaded(tmp_path):
    model, ids = tiny_text(), some_texts(4, 9)
    export_torch(model, some_texts(2), tmp_path / "good.pt2")
    assert not pickled(tmp_path / "good.pt2")
    torch.testing.assert_close(Eager(load_torch(tmp_path / "good.pt2"))(ids), Eager(model)(ids))
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(program, tmp_path / "bad.pt2")  # as it is by default: with its example inputs, pickled
    assert pickled(tmp_path / "bad.pt2")
    with pytest.raises(CompressionError, match=r"holds pickle, in .*sample_inputs"):
        load_torch(tmp_path / "bad.pt2")
    (tmp_path / "none.pt2").write_bytes(b"x")
    with pytest.raises(CompressionError, match="is no exported program"):
        without_pickle(tmp_path / "none.pt2")


@pytest.fixture
def served(cnn):
    """The port of a server of the CNN, in this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), served_by(Eager(cnn)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def post(port: int, body: bytes, kind: str) -> bytes:
    wanted = urllib.request.Request(f"http://127.0.0.1:{port}/", body, {"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(wanted, timeout=60) as answer:
        return bytes(answer.read())


def npy(values: torch.Tensor) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, values.numpy(), allow_pickle=False)
    return buffer.getvalue()


def test_requests_are_json_or_npy(served, cnn):
    x = torch.rand(2, 1, 28, 28)
    answer = json.loads(post(served, json.dumps({"inputs": x.tolist()}).encode(), "application/json"))
    torch.testing.assert_close(torch.tensor(answer["logits"]), Eager(cnn)(x), atol=1e-4, rtol=1e-4)
    for body in (b"no array", npy(torch.rand(2, 3))):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(served, body, "application/x-npy")


def test_the_client_checks_every_answer(served, cnn):
    x = torch.rand(1, 1, 28, 28)
    right = Eager(cnn)(x).numpy()[None]
    found = asked(served, [npy(x)], right, time.monotonic() + 0.3, 1e-3)
    assert found.milliseconds
    assert not found.errors
    wrong = asked(served, [npy(x)], right + 1, time.monotonic() + 5, 1e-3)
    assert (len(wrong.milliseconds), wrong.errors) == (1, ["an answer is off by 1"])
    assert asked(served, [b"?"], right, time.monotonic() + 5, 1e-3).errors[0].startswith("400")


def test_a_server_that_does_not_begin_is_said(tmp_path):
    with (
        pytest.raises(CompressionError, match="did not begin to serve"),
        serving(["--onnx", str(tmp_path / "no.onnx")]),
    ):
        pass

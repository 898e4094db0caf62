"""What is asked of a compression is checked field by field, before anything is loaded."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys

import pytest

from paceline_trainer.compress import publish
from paceline_trainer.compress.methods import PARAMS, TARGETS, methods_schemas
from paceline_trainer.compress.request import Export, Publish, Stage, identity, parsed
from paceline_trainer.params import ParamError
from tests.trainer.conftest import environment

STAGE = {"do": "stage", "source": "s", "input": "i", "output": "o", "method": "none"}
PRUNE = {**STAGE, "method": "prune.structured", "target": {"macsRatio": 0.5}}
EXPORT = {"do": "export", "source": "s", "input": "i", "output": "o", "formats": ["onnx"]}


def test_defaults():
    stage = parsed(json.dumps(STAGE))
    assert isinstance(stage, Stage)
    assert (stage.measure.batch, stage.measure.threads, stage.measure.runs, stage.measure.tokens) == (1, 1, 200, 32)
    assert (stage.seed, stage.target) == (0, {})
    export = parsed(json.dumps(EXPORT))
    assert isinstance(export, Export)
    assert (export.formats, export.serve_seconds) == (("onnx",), 60)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({**STAGE, "do": "train"}, "do: must be one of stage, export, publish, not 'train'"),
        ({**STAGE, "sede": 1}, "sede: unknown; there are: do, source"),
        ({**STAGE, "source": ""}, "source: must be a folder's path"),
        ({**STAGE, "input": 3}, "input: must be a folder's path"),
        ({**STAGE, "method": "prune"}, "method: must be one of none, prune.structured"),
        ({**STAGE, "method": ["none"]}, "method: must be one of none"),
        ({**STAGE, "target": {"sparsity": 0.5}}, "target.sparsity: unknown; none takes no target"),
        ({**PRUNE, "target": {}}, "target: prune.structured needs exactly one of macsRatio, parametersRatio"),
        ({**PRUNE, "target": {"macsRatio": 0.5, "parametersRatio": 0.5}}, "needs exactly one"),
        ({**PRUNE, "target": {"macsRatio": 1}}, "target.macsRatio: must be a number between 0 and 1, not 1"),
        ({**PRUNE, "target": {"macsRatio": "half"}}, "target.macsRatio: must be a number"),
        ({**PRUNE, "target": {"latency": 0.5}}, "takes macsRatio or parametersRatio"),
        ({**PRUNE, "target": 0.5}, "target: must be an object"),
        ({**PRUNE, "params": {"rounds": 0}}, "params.rounds: must be at least 1"),
        ({**PRUNE, "params": {"round": 1}}, "params.round: unknown"),
        ({**STAGE, "method": "quantize.weightOnly", "params": {"bits": 2}}, "params.bits: must be one of 8, 4"),
        (
            {
                **STAGE,
                "method": "prune.unstructured",
                "target": {"sparsity": 0.5},
                "params": {"scope": "global", "pattern": "2:4"},
            },
            "2:4 is a pattern within each layer",
        ),
        ({**STAGE, "measure": {"runs": 10}}, "measure.runs: must be at least 200, not 10"),
        ({**STAGE, "measure": {"warmup": 10}}, "measure.warmup: unknown"),
        ({**STAGE, "seed": -1}, "seed: must be a whole number from 0"),
        ({**EXPORT, "formats": []}, "formats: must be a list of some of safetensors, onnx, torchExport"),
        ({**EXPORT, "formats": ["pickle"]}, "formats: must be one of safetensors, onnx, torchExport, not 'pickle'"),
        ({**EXPORT, "serveSeconds": 0}, "serveSeconds: must be a whole number from 1"),
        ({"do": "publish"}, "output: must be a folder's path"),
    ],
)
def test_what_is_wrong_is_said_by_field(asked, words):
    with pytest.raises(ParamError) as refused:
        parsed(json.dumps(asked))
    assert words in str(refused.value)


def test_a_request_that_is_no_object():
    with pytest.raises(ParamError, match="is not JSON"):
        parsed("{")
    with pytest.raises(ParamError, match="must be a JSON object"):
        parsed("[]")


def test_the_program_ends_with_2_and_says_why():
    command = [sys.executable, "-m", "paceline_trainer.compress", "--request", json.dumps({**STAGE, "seed": "x"})]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: seed: must be a whole number from 0 to 2147483647, not 'x'\n",
    )


def test_the_same_request_is_the_same_wherever_the_result_goes():
    one, other = parsed(json.dumps(STAGE)), parsed(json.dumps({**STAGE, "output": "elsewhere"}))
    different = parsed(json.dumps({**STAGE, "seed": 1}))
    assert isinstance(one, Stage)
    assert isinstance(other, Stage)
    assert isinstance(different, Stage)
    assert identity(one) == identity(other) != identity(different)


def test_every_method_has_a_schema_that_says_what_it_is():
    schemas = methods_schemas()
    assert set(schemas) == set(PARAMS)
    assert TARGETS.keys() <= PARAMS.keys()
    assert all(one["description"] and not one["additionalProperties"] for one in schemas.values())
    assert schemas["prune.structured"]["properties"]["rounds"]["default"] == 5


def test_the_schemas_are_printed_without_torch():
    program = (
        "import sys; sys.argv = ['schemas', '--methods']\n"
        "from paceline_trainer import schemas; schemas.main(); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == methods_schemas()


def carried(files: object) -> dict[str, str]:
    return {publish.VARIABLE: base64.b64encode(gzip.compress(json.dumps(files).encode())).decode()}


def test_published_files_lie_beside_the_model(tmp_path):
    publish.run(Publish(tmp_path), print, carried({"report.html": "<p>ä</p>", "compression.json": "{}"}))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<p>ä</p>"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "compression.json"}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "is not set"),
        ({publish.VARIABLE: "%"}, "is not base64 of gzip"),
        ({publish.VARIABLE: base64.b64encode(b"{}").decode()}, "is not base64 of gzip"),
        (carried(["a"]), "must be a JSON object of texts"),
        (carried({"a": 1}), "must be a JSON object of texts"),
        (carried({"../a": ""}), "is no name for a file"),
        (carried({".hidden": ""}), "is no name for a file"),
        (carried({"manifest.json": ""}), "is no name for a file"),
        (carried({"model.onnx": ""}), "is no name for a file"),
    ],
)
def test_what_cannot_be_published(tmp_path, environ, words):
    with pytest.raises(ParamError, match=words):
        publish.run(Publish(tmp_path), print, environ)
    assert not list(tmp_path.iterdir())

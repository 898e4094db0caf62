"""torch.compile: the same losses under the same names, and a clear word where there is no compiler."""

from __future__ import annotations

import json
import subprocess

import pytest
import torch

from devcluster import packages
from paceline_trainer.optimization.compilation import CompileError, compile_model
from paceline_trainer.params import ParamError, parse
from paceline_trainer.recipes import ImageClassification
from tests.trainer.conftest import environment, launcher, run_recipe


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    packages.install({"g++": "g++"})


PARAMS = {"epochs": 1, "batch_size": 240, "width": 4, "seed": 3}


def test_a_compiled_run_is_the_same_run(tmp_path):
    plain = run_recipe(tmp_path / "plain", "image-classification", PARAMS, 1)
    kernels, compiled = tmp_path / "kernels", {**PARAMS, "compile": "default"}
    where = {"TORCHINDUCTOR_CACHE_DIR": str(kernels)}
    found = run_recipe(tmp_path / "compiled", "image-classification", compiled, 2, **where)
    assert found["report"]["losses"] == pytest.approx(plain["report"]["losses"], rel=1e-4)
    # Whether other kernels round differently depends on the processor; that there are some does not.
    assert list(kernels.rglob("*.so")), "nothing was compiled"
    assert found["manifest"]["parameters"] == plain["manifest"]["parameters"]


def test_without_a_compiler_it_says_so_before_it_trains(tmp_path):
    params = json.dumps({**PARAMS, "compile": "default"})
    command = [*launcher(1), "-m", "paceline_trainer.run", "--recipe", "image-classification", "--params", params]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)],
        env=environment(CXX="no-such-compiler"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "compile: default needs a C++ compiler; there is no no-such-compiler: install it" in done.stderr
    assert "step=" not in done.stdout


def test_off_needs_nothing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    model = torch.nn.Linear(2, 2)
    compile_model(model, "off", torch.device("cpu"))
    with pytest.raises(CompileError):
        compile_model(model, "max-autotune", torch.device("cpu"))
    assert model._compiled_call_impl is None


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(ParamError, match="compile"):
        parse(ImageClassification, {"compile": "default", "pipeline_stages": 2})

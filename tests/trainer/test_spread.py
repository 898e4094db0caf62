"""However a model is spread over processes, its losses and weights are those of one process."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from paceline_trainer.parallel.layout import Layout, LayoutError, layout
from paceline_trainer.parallel.pipeline import cut
from paceline_trainer.parallel.plan import AGGREGATIONS
from tests.trainer.conftest import run_recipe, written_by
from tests.trainer.spread_losses import PLANS


@pytest.fixture(scope="session")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What spread_losses.py writes, by the number of processes; each is run once."""
    results: dict[int, Any] = {}

    def get(processes: int) -> Any:
        if processes not in results:
            results[processes] = written_by("spread_losses.py", processes, tmp_path_factory.mktemp("spread"))
        return results[processes]

    return get


CASES = [(name, processes) for name, (sizes, _) in PLANS.items() for processes in sizes]


@pytest.mark.parametrize(("name", "processes"), CASES)
def test_every_layout_trains_the_model_of_one_process(spread, name, processes):
    alone, found = spread(1)["ddp"], spread(processes)[name]
    assert found["losses"] == pytest.approx(alone["losses"], rel=0, abs=1e-12)
    assert found["norm"] == pytest.approx(alone["norm"], rel=1e-12)
    assert found["names"] == alone["names"]


def test_processes_that_cannot_be_divided_are_refused():
    assert layout(8, pipeline=2, tensor=2) == Layout(pipeline=2, data=2, tensor=2)
    with pytest.raises(LayoutError, match=r"6 processes .* 2 × 2: take a multiple of 4"):
        layout(6, pipeline=2, tensor=2)


def test_stages_that_do_not_divide_the_layers_are_refused():
    model = nn.Module()
    model.layers = nn.ModuleDict({str(i): nn.Linear(1, 1) for i in range(6)})
    with pytest.raises(LayoutError, match=r"4 stages do not divide the model's 6 layers; take one of \[1, 2, 3, 6\]"):
        cut(model, 0, 4)
    assert list(cut(model, 1, 3).layers) == ["2", "3"]
    with pytest.raises(LayoutError, match="no layers that could be placed"):
        cut(nn.Linear(1, 1), 0, 2)


@pytest.mark.parametrize(
    ("processes", "params"),
    [
        (2, {"parallel": "fsdp"}),
        (2, {"parallel": "fsdp", "tensor_parallel": 2}),
        (2, {"pipeline_stages": 2}),
        (2, {"accumulate": 4, "bucket_mb": 1}),
    ],
)
def test_a_run_goes_on_in_another_layout(tmp_path, processes, params):
    """Interrupted alone, it goes on spread over processes, from the same checkpoint, to the same model."""
    whole = run_recipe(tmp_path / "whole", "image-classification", {"epochs": 2}, 1)
    kept = {"PACELINE_CHECKPOINT_DIR": str(tmp_path / "kept"), "PACELINE_CHECKPOINT_EVERY_STEPS": "10"}
    run_recipe(tmp_path / "half", "image-classification", {"epochs": 1}, 1, **kept)
    result = run_recipe(tmp_path / "rest", "image-classification", {"epochs": 2, **params}, processes, **kept)
    assert "resumed from step" in result["stdout"]
    assert result["report"]["losses"] == pytest.approx(whole["report"]["losses"], rel=0, abs=1e-3)
    assert result["report"]["confusion_matrix"] == whole["report"]["confusion_matrix"]
    assert result["manifest"]["parameters"] == whole["manifest"]["parameters"]


CONVERGED = {"epochs": 20, "batch_size": 50}


@pytest.fixture(scope="module")
def uncompressed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_recipe(tmp_path_factory.mktemp("uncompressed"), "image-classification", CONVERGED, 2)


@pytest.mark.parametrize("how", AGGREGATIONS[1:])
def test_compressed_gradients_converge_to_as_good_a_model(tmp_path, uncompressed, how):
    found = run_recipe(tmp_path, "image-classification", {**CONVERGED, "aggregation": how}, 2)
    assert found["report"]["losses"][0] == uncompressed["report"]["losses"][0], "the weights were the same"
    assert found["report"]["losses"] != uncompressed["report"]["losses"], "something else was sent"
    assert found["manifest"]["metrics"]["accuracy"] >= uncompressed["manifest"]["metrics"]["accuracy"] - 0.02


def test_compressed_gradients_are_fewer_bytes(tmp_path):
    found = written_by("gradient_bytes.py", 2, tmp_path)
    whole = 4 * found["weights"]
    assert found["fp16"] == found["bf16"] == whole / 2
    assert found["powersgd"] < whole / 20, "of a matrix (n, m) at rank 1, n + m numbers"

"""Local SGD is its definition, sends as seldom as it says, and leaves one model."""

from __future__ import annotations

import pytest

from paceline_trainer.params import ParamError, parse
from paceline_trainer.recipes import ImageClassification
from tests.trainer.conftest import run_recipe, written_by


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return written_by("local_sgd_run.py", 2, tmp_path_factory.mktemp("local"))


def test_averaged_after_every_step_it_is_the_shared_gradient(found):
    """Of SGD without momentum, whose steps are linear in the gradient."""
    assert found["every step"]["losses"] == pytest.approx(found["ddp"]["losses"], rel=0, abs=1e-12)


def test_weights_are_sent_as_often_as_they_are_averaged(found):
    assert found["every fourth"]["sent"] * 6 == found["every step"]["sent"] > 0
    assert found["every fourth"]["losses"] != found["ddp"]["losses"]


def test_replicas_have_one_model_when_it_is_saved(found):
    one, other = found["every fourth"]["before"]
    assert one != other, "four steps after the last average they differ"
    one, other = found["every fourth"]["after"]
    assert one == other


def test_a_run_with_local_steps_learns_and_resumes(tmp_path):
    store = str(tmp_path / "checkpoints")
    params = {"epochs": 6, "local_steps": 8}
    run_recipe(tmp_path / "half", "image-classification", {**params, "epochs": 3}, 2, PACELINE_CHECKPOINT_DIR=store)
    result = run_recipe(tmp_path / "out", "image-classification", params, 2, PACELINE_CHECKPOINT_DIR=store)
    assert "resumed from step 69" in result["stdout"]
    assert result["manifest"]["metrics"]["accuracy"] >= 0.9


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"parallel": "fsdp"}, "hold all weights"),
        ({"pipeline_stages": 2}, "hold all layers"),
        ({"aggregation": "fp16"}, "local steps share weights"),
        ({"explosion": 3.0}, "gradients of their own"),
        ({"precision": "fp16"}, "take bf16"),
    ],
)
def test_what_cannot_be_combined_is_refused(params, why):
    with pytest.raises(ParamError, match=why):
        parse(ImageClassification, {"local_steps": 4, **params})

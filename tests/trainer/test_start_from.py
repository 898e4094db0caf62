"""A training that begins with another model's weights: what was pruned stays pruned, what was zero stays zero."""

from __future__ import annotations

import dataclasses
import json
import shutil
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from paceline_trainer import recipes
from paceline_trainer.distributed import World
from paceline_trainer.loaded import ModelError, load
from paceline_trainer.loop import begin, train
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import Cnn, ImageClassificationTask
from paceline_trainer.starting import depth, evenly
from tests.trainer.conftest import run_recipe
from tests.trainer.models import images, leave
from tests.trainer.text_losses import PARAMS, FewTexts

ALONE = World(0, 1, torch.device("cpu"), "gloo")


def begun(params, task_class=ImageClassificationTask):
    return task_class(params).begun(10)


def test_training_begins_with_the_other_models_weights_and_loading_needs_none(tmp_path):
    folder = images(tmp_path / "model", width=4)
    params = ImageClassification(width=4, start_from=str(folder))
    model, other = begun(params), load(folder).model
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    left = leave(tmp_path / "next", "image-classification", params, model)
    shutil.rmtree(folder)
    assert load(left).params.start_from == str(folder)


def test_what_was_pruned_stays_so_when_trained_saved_and_loaded(tmp_path):
    params = ImageClassification(width=16)
    small = Cnn(3)
    folder = leave(tmp_path / "pruned", "image-classification", params, small)
    params = dataclasses.replace(params, start_from=str(folder), lr=0.1, batch_size=50)
    task = ImageClassificationTask(params)
    result = begin(task, params, ALONE, 10)
    for _ in islice(train(task, task.splits()[0], params, ALONE, result), 2):
        pass
    left = load(leave(tmp_path / "next", "image-classification", params, result.spread.model)).model
    shapes = {name: value.shape for name, value in small.state_dict().items()}
    assert {name: value.shape for name, value in left.state_dict().items()} == shapes
    assert not torch.equal(left.state_dict()["layers.out.weight"], small.state_dict()["layers.out.weight"])


def test_zeros_stay_zero_through_training_and_resume(tmp_path):
    folder = images(tmp_path / "model", width=4, zeros=0.6)
    params = {"start_from": str(folder), "width": 4, "batch_size": 200, "weight_decay": 0.01, "keep_zeros": True}
    kept = {"PACELINE_CHECKPOINT_DIR": str(tmp_path / "job")}
    run_recipe(tmp_path / "first", "image-classification", {**params, "epochs": 1}, 1, **kept)
    resumed = run_recipe(tmp_path / "second", "image-classification", {**params, "epochs": 2}, 1, **kept)
    assert "resumed from step 8" in resumed["stdout"]
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "second"))
    for name, value in before.items():
        assert torch.equal(after[name] == 0, value == 0), name
        assert not torch.equal(after[name], value), name


def test_without_keep_zeros_they_grow_again_and_in_every_layout_they_do_not(tmp_path, distilled):
    folder = images(tmp_path / "model", width=8, zeros=0.5)
    weights = load_file(folder / "model.safetensors")
    zeros = {name: int((value == 0).sum()) for name, value in weights.items() if value.ndim > 1}
    for processes in (1, 2):
        found = {name: one["zeros"] for name, one in distilled(processes).items()}
        assert all(count == zeros for name, count in found.items() if name.startswith("zeros"))
        assert not any(found["taught ddp"].values())


@pytest.mark.parametrize(
    ("layers", "of", "kept"),
    [
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (4, 6, [0, 2, 3, 5]),
        (3, 6, [0, 2, 5]),
        (2, 6, [0, 5]),
        (1, 6, [0]),
        (2, 3, [0, 2]),
    ],
)
def test_which_layers_are_kept(layers, of, kept):
    assert evenly(layers, of) == kept


@given(st.integers(1, 24).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_layers_are_kept_once_in_order_with_the_first_and_at_even_distances(drawn):
    layers, of = drawn
    kept = evenly(layers, of)
    assert len(kept) == layers
    assert kept[0] == 0
    assert layers == 1 or kept[-1] == of - 1
    gaps = [b - a for a, b in pairwise(kept)]
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Four of MiniLM's layers, and a head of the seed."""
    torch.manual_seed(2)
    params = dataclasses.replace(PARAMS, layers=4)
    return leave(tmp_path_factory.mktemp("text") / "model", "topic-classification", params, FewTexts(params).model())


def test_a_student_has_the_layers_of_what_it_begins_with(student):
    own = load_file(student / "model.safetensors")
    assert depth(own) == 4
    params = dataclasses.replace(PARAMS, layers=2, start_from=str(student))
    model = begun(params, FewTexts)
    assert model.encoder.backbone.config.num_hidden_layers == 2
    ids = torch.randint(1000, 2000, (2, 6))
    for layer, was in ((0, 0), (1, 3)):
        for name, value in model.encoder.backbone.encoder.layer[layer].state_dict().items():
            assert torch.equal(value, own[f"encoder.backbone.encoder.layer.{was}.{name}"]), name
    assert torch.equal(model.head[1].weight, own["head.1.weight"])
    assert model.eval()(ids).shape == (2, 5)
    with pytest.raises(ModelError, match="layers: 6 cannot be taken of a model with 4: set layers to 4"):
        begun(dataclasses.replace(params, layers=6), FewTexts)


@pytest.mark.parametrize("tuning", ["lora", "adapters"])
def test_what_a_tuning_adds_is_added_to_what_is_begun_with(student, tmp_path, tuning):
    params = dataclasses.replace(PARAMS, layers=4, start_from=str(student), tuning=tuning)
    task = FewTexts(params)
    model, ids = task.begun(10).eval(), torch.randint(1000, 2000, (2, 6))
    with torch.no_grad():
        expected = load(student).model(ids)
        assert torch.allclose(model(ids), expected, atol=1e-5)
        if tuning == "lora":
            return
        for parameter in model.parameters():
            parameter.add_(0.001)
        expected = model(ids)
        left = leave(tmp_path / "adapted", "topic-classification", params, model)
        again = begun(dataclasses.replace(params, start_from=str(left)), FewTexts)
        assert torch.allclose(again.eval()(ids), expected, atol=1e-5), "its adapters are trained on"
    with pytest.raises(ModelError, match="set the parameters that it was made with, such as tuning"):
        begun(dataclasses.replace(params, start_from=str(left), tuning="full"), FewTexts)


def test_what_cannot_be_begun_with_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"start_from: no model in .*nothing: there is no such folder"):
        begun(ImageClassification(start_from=str(tmp_path / "nothing")))
    folder = images(tmp_path / "model")
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "recipe": "linear-regression"}))
    with pytest.raises(ModelError, match=r"start_from: .* of the recipe linear-regression: take one"):
        begun(ImageClassification(start_from=str(folder)))


def test_a_model_is_begun_from_in_every_classifying_recipe():
    for name, params in recipes.PARAMS.items():
        assert issubclass(params, recipes.Classification) == (name != "linear-regression")

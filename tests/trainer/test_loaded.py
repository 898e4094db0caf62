"""A model that a run has left is loaded again, or it is said why not."""

import json

import pytest
import torch

from paceline_trainer import recipes
from paceline_trainer.loaded import ModelError, fit, load
from paceline_trainer.recipes.image_classification import Cnn
from tests.trainer.models import leave


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    params = recipes.ImageClassification(width=4)
    model = recipes.load("image-classification")(params).model()
    return leave(tmp_path / "model", "image-classification", params, model)


def change(folder, **facts):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_the_loaded_model_says_what_the_saved_one_said(folder):
    torch.manual_seed(1)
    expected = Cnn(4).eval()
    loaded = load(folder)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(loaded.model(x), expected(x))
    assert (loaded.recipe, loaded.params.width, loaded.model.training) == ("image-classification", 4, False)


def test_a_pruned_model_is_made_as_small_as_its_weights():
    small, big = Cnn(2), Cnn(8)
    fit(big, small.state_dict())
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(big(x), small(x))


def test_weights_of_another_model_are_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        fit(Cnn(8), torch.nn.Linear(2, 2).state_dict())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "is no JSON"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "its sha256 differs"),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
        (lambda f: change(f, recipe="chess"), "recipe 'chess', which"),
        (lambda f: change(f, params={"width": 0}), "must be at least 1"),
    ],
)
def test_what_cannot_be_loaded_is_said(folder, spoil, words):
    spoil(folder)
    with pytest.raises(ModelError, match=words):
        load(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="there is no such folder"):
        load(tmp_path / "nothing")

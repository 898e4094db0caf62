"""Layers that round while they train: as the quantized ones do, and plain float ones again when the model is saved."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest
import torch

from paceline_trainer import fake_quantization
from paceline_trainer.distributed import World
from paceline_trainer.loaded import load
from paceline_trainer.loop import begin, train
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from tests.trainer.models import leave

ALONE = World(0, 1, torch.device("cpu"), "gloo")
HOW = ("int8-dynamic", "int4-weight")


def trained(how: str, **more):
    params = ImageClassification(width=4, seed=3, lr=0.02, quantization_aware=how, **more)
    task = ImageClassificationTask(params)
    torch.manual_seed(params.seed)
    result = begin(task, params, ALONE, 10)
    for _ in islice(train(task, task.splits()[0], params, ALONE, result), 3):
        pass
    return task, params, result.spread.model


@pytest.mark.parametrize("how", HOW)
def test_what_is_saved_has_plain_layers_and_names_and_other_weights_than_without(how, tmp_path):
    plain = trained("none")[2]
    task, params, model = trained(how)
    assert {type(module).__name__ for module in model.modules()} >= {"FakeQuantizedLinear"}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task.finish(model)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the trained ones"
    assert not torch.equal(model.layers["out"].weight, plain.layers["out"].weight)
    loaded = load(leave(tmp_path / "model", "image-classification", params, model)).model
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(loaded(x), model.eval()(x))


def rounded(values: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """Symmetric, a scale for each group: the largest magnitude is the middle of the range of 2^bits - 1 steps."""
    grouped = values.reshape(-1, group)
    scale = grouped.abs().amax(1, keepdim=True) / ((2**bits - 1) / 2)
    whole = (grouped / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return (whole * scale).reshape(values.shape)


def layer(width: int, group: int) -> torch.nn.Sequential:
    """The largest of each group is positive: a negative one is half-way between two steps, and either may be taken."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(width, 6))
    with torch.no_grad():
        grouped = model[0].weight.view(-1, group)
        grouped *= grouped.gather(1, grouped.abs().argmax(1, keepdim=True)).sign()
    return model


@pytest.mark.parametrize(("width", "group"), [(64, 32), (40, 40)])
def test_int4_rounds_groups_of_a_row_where_they_divide_it_and_whole_rows_elsewhere(width, group):
    model = layer(width, group)
    weight, x = model[0].weight.detach().clone(), torch.rand(5, width)
    expected = x @ rounded(weight, 4, group).T + model[0].bias
    fake_quantization.prepare(model, "int4-weight")
    assert torch.allclose(model(x), expected, atol=1e-5)
    model(x).sum().backward()
    # As if nothing was rounded; torchao 0.18 gives none to what is rounded to the highest step (7) or cut off there.
    steps = (weight.view(-1, group) / weight.view(-1, group).amax(1, keepdim=True) * 7.5).view(6, width)
    through = torch.isclose(model[0].weight.grad, x.sum(0).expand(6, width))
    assert torch.equal(through, steps < 6.5)


def test_int8_rounds_weights_by_row_and_what_comes_in_by_sample():
    model = layer(64, 64)
    weight, x = model[0].weight.detach().clone(), torch.randn(5, 64)
    fake_quantization.prepare(model, "int8-dynamic")
    exact = x @ weight.T + model[0].bias
    with torch.no_grad():
        found = model(x)
        alone = torch.cat([model(x[i : i + 1]) for i in range(5)])
    assert torch.allclose(found, alone, atol=1e-6), "no sample depends on the others of its batch"
    assert not torch.equal(found, exact)
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low) / 255
    zero = (-128 - (low / scale).round()).clamp(-128, 127)
    came = (((x / scale).round() + zero).clamp(-128, 127) - zero) * scale
    assert torch.allclose(found, came @ rounded(weight, 8, 64).T + model[0].bias, atol=1e-5)


def test_a_model_is_evaluated_as_it_rounds():
    task, params, model = trained("int4-weight")
    with torch.no_grad():
        x = task.splits()[1].inputs[:20]
        said = model.eval()(x)
        task.finish(model)
        assert not torch.equal(model(x), said)
        fake_quantization.prepare(model, "int4-weight")
        assert torch.equal(model(x), said)
    assert dataclasses.asdict(params)["quantization_aware"] == "int4-weight"

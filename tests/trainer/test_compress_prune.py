"""Channels are removed until what was asked for is left; zeros are counted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from paceline_trainer.compress import prune
from paceline_trainer.compress.convert import _losses
from paceline_trainer.compress.errors import CompressionError
from paceline_trainer.compress.methods import PruneStructured, PruneUnstructured
from paceline_trainer.compress.prune import size, two_of_four, zeros
from paceline_trainer.loaded import fit
from paceline_trainer.recipes.image_classification import Cnn
from tests.trainer.compressing import PARAMS, some_texts, tiny_text

IMAGE = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def widths(model: nn.Module) -> list[int]:
    return [len(one.weight) for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)]


def structured(model, params, target, losses=lambda module: ()):
    said: list[str] = []
    ratios = prune.structured(model, IMAGE, params, target, losses, said.append)
    return ratios, said


def test_macs_are_those_of_the_layers():
    first, second, hidden, out = 28 * 28 * 8 * 9, 14 * 14 * 16 * 8 * 9, 16 * 49 * 128, 1280
    model = Cnn(8)
    nn.init.zeros_(model.layers["out"].weight)
    found = size(model, IMAGE)
    assert found.macs == first + second + hidden + out
    assert found.parameters - found.nonzero == 1280
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("rounds", [1, 5])
@pytest.mark.parametrize(
    "target", [{"macsRatio": 0.7}, {"macsRatio": 0.5}, {"macsRatio": 0.2}, {"parametersRatio": 0.5}]
)
def test_the_target_is_met_and_not_by_more_than_a_few_channels(cnn, target, rounds):
    model, before = copy.deepcopy(cnn), size(cnn, IMAGE)
    ratios, said = structured(model, PruneStructured(rounds=rounds), target)
    now = size(model, IMAGE)
    assert ratios["reachedMacsRatio"] == now.macs / before.macs
    assert ratios["reachedParametersRatio"] == now.parameters / before.parameters
    (name, wanted), key = next(iter(target.items())), "reachedMacsRatio"
    reached = ratios[key if name == "macsRatio" else "reachedParametersRatio"]
    # One channel more in each of the layers would be too many: of 16, 32 and 128 they are 12 % of the MACs at most.
    assert wanted - 0.12 < reached <= wanted
    assert widths(model)[-1] == 10
    assert "was asked for" in said[0]


def test_what_is_left_can_be_loaded_again(cnn):
    model, again = copy.deepcopy(cnn), Cnn(PARAMS.width)
    structured(model, PruneStructured(), {"macsRatio": 0.5})
    fit(again, model.state_dict())
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(again(x), model(x))


def test_channels_are_left_in_multiples(cnn):
    model = copy.deepcopy(cnn)
    structured(model, PruneStructured(round_to=4), {"macsRatio": 0.5})
    assert all(width % 4 == 0 for width in widths(model)[:-1])


def test_what_the_loss_needs_least_goes_first_with_taylor(cnn, digits):
    """A channel that is loud and says nothing: magnitude keeps it, and taylor does not."""
    loud = copy.deepcopy(cnn)
    with torch.no_grad():
        loud.layers["conv1"][0].weight[3] = -9.0  # no image is negative: after the ReLU it is always 0
        loud.layers["conv1"][0].bias[3] = -9.0
    kept = {}
    for importance in ("magnitude", "taylor"):
        model = copy.deepcopy(loud)
        params = PruneStructured(importance=importance, rounds=1)
        structured(model, params, {"macsRatio": 0.7}, _losses(digits, 0))
        kept[importance] = bool((model.layers["conv1"][0].weight.flatten(1).mean(1) == -9.0).any())
    assert kept == {"magnitude": True, "taylor": False}


def test_out_of_reach(cnn):
    model = copy.deepcopy(cnn)
    with pytest.raises(CompressionError, match=r"target.macsRatio: 0.001 cannot be reached .* is the least"):
        structured(model, PruneStructured(), {"macsRatio": 0.001})
    assert widths(model) == widths(cnn), "an error leaves the model as it was"


def test_how_far_it_goes_is_known_of_wide_layers_too():
    """1 - 1/1536 of 1,536 channels leave 0.9999 of one, by rounding none, which Torch-Pruning takes for nothing to do."""
    model = nn.Sequential(nn.Linear(4, 1536), nn.ReLU(), nn.Linear(1536, 2))
    with pytest.raises(CompressionError, match=r"cannot be reached by removing channels, 0.001 is the least"):
        prune.structured(model, torch.rand(1, 4), PruneStructured(), {"macsRatio": 0.0001}, lambda module: (), print)


def test_of_a_text_model_only_the_feed_forward_layers_are_narrowed():
    model, ids = tiny_text(), some_texts(1)
    before = {name: weight.shape for name, weight in model.named_parameters()}
    prune.structured(model, ids, PruneStructured(round_to=8), {"parametersRatio": 0.8}, lambda module: (), print)
    changed = {name for name, weight in model.named_parameters() if weight.shape != before[name]}
    assert {name.split("layer.")[1][2:] for name in changed} == {
        "intermediate.dense.weight",
        "intermediate.dense.bias",
        "output.dense.weight",
    }
    assert all(len(layer.intermediate.dense.weight) % 8 == 0 for layer in model.encoder.backbone.encoder.layer)
    assert model(some_texts(4)).shape == (4, 3)
    with pytest.raises(CompressionError, match="only the feed-forward layers of a text model"):
        prune.structured(model, ids, PruneStructured(), {"parametersRatio": 0.1}, lambda module: (), print)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_weights_become_zero_for_good(cnn, scope):
    model = copy.deepcopy(cnn)
    ratios = prune.unstructured(model, PruneUnstructured(scope=scope), 0.6, print)
    layers = [one for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    assert ratios == {"reachedSparsity": zeros(layers)}
    assert ratios["reachedSparsity"] == pytest.approx(0.6, abs=1e-3)
    each = [zeros([layer]) for layer in layers]
    assert (max(each) - min(each) < 0.02) == (scope == "layer")
    assert set(model.state_dict()) == set(cnn.state_dict()), "no masks are left over"
    kept = layers[2].weight[layers[2].weight != 0].abs().min()
    assert kept >= cnn.layers["hidden"][0].weight[layers[2].weight == 0].abs().max()


def test_two_of_four(cnn):
    mask = two_of_four(torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.0, 0.0, 5.0, 6.0]]))
    assert mask.tolist() == [[0, 1, 0, 1, 0, 0, 1, 1]]
    model = copy.deepcopy(cnn)
    prune.unstructured(model, PruneUnstructured(pattern="2:4"), 0.5, print)
    hidden = model.layers["hidden"][0].weight.reshape(-1, 4)
    assert ((hidden != 0).sum(1) == 2).all()
    with pytest.raises(CompressionError, match="2:4 is a half"):
        prune.unstructured(model, PruneUnstructured(pattern="2:4"), 0.6, print)

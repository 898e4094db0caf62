"""Adversarial inputs: within the ball and the range, worse for the model, and worth training on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paceline_trainer.adversarial import fgsm, pgd
from tests.trainer.adversarial_digits import accuracies, trained


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def attacked(kind: str, model: nn.Module, inputs: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    if kind == "fgsm":
        return fgsm(model, losses, inputs, targets, epsilon)
    start = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0))
    return pgd(model, losses, inputs, targets, epsilon, start=start, steps=8)


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
@given(seed=st.integers(0, 1000), epsilon=st.floats(0.001, 0.5))
@settings(max_examples=15, deadline=None)
def test_inputs_stay_in_the_ball_and_the_range_and_the_loss_rises(kind, seed, epsilon):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.rand(9, 6, generator=generator), torch.randint(3, (9,), generator=generator)
    model = network()
    found = attacked(kind, model, inputs, targets, epsilon)
    assert (found - inputs).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert losses(model(found), targets).mean() > losses(model(inputs), targets).mean()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_the_worst_input_of_a_linear_model_is_the_corner_that_its_weights_point_to(kind):
    weights = torch.tensor([[1.0, -2.0, 0.5]])
    model = nn.Linear(3, 1)
    model.weight.data.copy_(weights)
    inputs, epsilon = torch.full((2, 3), 0.5), 0.2
    corner = inputs + epsilon * weights.sign()
    if kind == "fgsm":
        found = fgsm(model, lambda o, _: o[:, 0], inputs, torch.zeros(2), epsilon)
    else:
        found = pgd(model, lambda o, _: o[:, 0], inputs, torch.zeros(2), epsilon, start=torch.rand(2, 3), steps=4)
    torch.testing.assert_close(found, corner)


def test_pgd_without_steps_is_its_random_start():
    start = torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.5, 0.5]])
    inputs = torch.full((1, 6), 0.5)
    found = pgd(network(), losses, inputs, torch.tensor([0]), 0.1, start=start, steps=0, rate=1.0)
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.5, 0.6, 0.5, 0.5, 0.5]]))


def test_a_sample_does_not_depend_on_its_batch():
    model, inputs, targets = network(), torch.rand(6, 6), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(
        fgsm(model, losses, inputs, targets, 0.1)[2:4], fgsm(model, losses, inputs[2:4], targets[2:4], 0.1)
    )


def test_adversarial_training_withstands_attacks_on_the_real_digits():
    plain, hardened = (accuracies(*trained(0, 4, attack)) for attack in ("none", "fgsm"))
    assert plain["clean"] > 0.9
    assert hardened["clean"] > 0.9
    assert plain["pgd"] <= plain["fgsm"] + 0.02
    assert hardened["fgsm"] > plain["fgsm"] + 0.2
    assert hardened["pgd"] > plain["pgd"] + 0.2

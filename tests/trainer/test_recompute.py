"""Activations that are computed again: the same losses from fewer kept bytes. Spread over processes: test_spread.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from paceline_trainer.optimization.recompute import recompute_activations
from paceline_trainer.recipes import TopicClassification
from paceline_trainer.recipes.image_classification import Cnn
from paceline_trainer.text.encoder import FEATURES, Classifier, Encoder, Head, pretrained
from paceline_trainer.text.tuning import prepare
from tests.trainer.measured import kept_bytes


def digits() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return Cnn(8), torch.rand(64, 1, 28, 28), torch.arange(64) % 10


def texts(tuning: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = Classifier(Encoder(pretrained(dropout=0.1)), Head(FEATURES, 5, 0.1))
    prepare(model, TopicClassification(tuning=tuning), 10)
    return model, torch.randint(1000, 2000, (8, 32)), torch.arange(8) % 5


def stepped(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[list[float], int]:
    """The losses of three steps, and the bytes that autograd keeps in one, weights apart."""
    torch.manual_seed(1)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, kept_bytes(model, lambda: nn.functional.cross_entropy(model(inputs), targets))


@pytest.mark.parametrize(
    ("made", "share"),
    [(digits, 0.5), (lambda: texts("full"), 0.2), (lambda: texts("lora"), 0.2)],
    ids=["digits", "texts", "texts, lora"],
)
def test_the_same_losses_from_fewer_bytes(made: Any, share: float) -> None:
    model, *data = made()
    other = copy.deepcopy(model)
    recompute_activations(other)
    assert list(other.state_dict()) == list(model.state_dict())
    (losses, kept), (again, fewer) = stepped(model, *data), stepped(other, *data)
    assert again == losses, "dropout draws the same once more"
    assert losses[2] < losses[0]
    assert 0 < fewer < share * kept


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="no layers whose inputs could be kept"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))

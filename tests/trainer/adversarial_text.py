"""Accuracy of a small text model on BBC news under attack on its embeddings, trained plainly and adversarially. Prints JSON.

usage: adversarial_text.py [SEEDS [EPOCHS]]

MiniLM's word embeddings, frozen: were they trained, they could grow until the same epsilon is no attack any more.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.recipes import TopicClassification
from paceline_trainer.recipes.topic_classification import TopicClassificationTask
from paceline_trainer.task import Arrays
from paceline_trainer.text.adversarial import Attack, adversarial_backward, attacked
from paceline_trainer.text.encoder import FEATURES, mean_pool, pretrained

EPSILON, TOKENS, BATCH = 0.5, 32, 32
ATTACKS = {"none": None, "fgm": Attack(EPSILON), "pgd": Attack(EPSILON, steps=3)}


class Reader(nn.Module):
    """Token ids (B, T) -> logits (B, 5): one layer of attention over frozen word embeddings, the tokens' mean, a linear layer."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.layer = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU())
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.out = nn.Linear(64, 5)

    def forward(self, ids: Tensor) -> Tensor:
        states, real = self.layer(self.embedding(ids)), ids != 0
        states = states + self.attention(states, states, states, key_padding_mask=~real, need_weights=False)[0]
        return cast("Tensor", self.out(mean_pool(states, real)))


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


@cache
def data() -> tuple[Arrays, Arrays]:
    return TopicClassificationTask(TopicClassification(max_tokens=TOKENS)).splits()


@cache
def word_embeddings() -> nn.Embedding:
    return cast("nn.Embedding", pretrained().get_input_embeddings().requires_grad_(False))  # type: ignore[operator]


def trained(seed: int, epochs: int, kind: str) -> Reader:
    """Of "none", "fgm" or "pgd"."""
    train, _ = data()
    torch.manual_seed(seed)
    model, attack = Reader(word_embeddings()), ATTACKS[kind]
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for epoch in range(epochs):
        for batch in global_batches(epoch_order(len(train), seed, epoch), BATCH):
            inputs, targets = train.inputs[batch], train.targets[batch]

            def loss(inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
                return losses(model(inputs), targets).sum()

            optimizer.zero_grad()
            if attack is None:
                loss().backward()
            else:
                adversarial_backward(
                    model.embedding,
                    attack,
                    loss,
                    lambda x, leaves: torch.autograd.backward(x, inputs=leaves),
                    nullcontext,
                )
            optimizer.step()
    return model


def accuracies(model: Reader) -> dict[str, float]:
    """On clean texts, under FGM, and under PGD of 10 steps, at the epsilon that was trained with."""
    _, held_out = data()
    ids, classes = held_out.inputs, held_out.targets
    with torch.no_grad():
        outputs = {"clean": model(ids)}
    for name, attack in (("fgm", Attack(EPSILON)), ("pgd", Attack(EPSILON, steps=10))):
        outputs[name] = attacked(model, model.embedding, losses, ids, classes, attack)
    return {name: float((found.argmax(1) == classes).float().mean()) for name, found in outputs.items()}


if __name__ == "__main__":
    seeds, epochs = (int(value) for value in (sys.argv[1:] + ["3", "3"][len(sys.argv) - 1 :]))
    for seed in range(seeds):
        for kind in ATTACKS:
            print(json.dumps({"trained on": kind, "seed": seed, **accuracies(trained(seed, epochs, kind))}), flush=True)

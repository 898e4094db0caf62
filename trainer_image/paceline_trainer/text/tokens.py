"""Texts as token ids: tokenised once, padded in memory, cut to a batch's own longest text where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

# BERT's: the id of [PAD].
PADDING = 0


def tokenize(texts: Sequence[str], tokenizer: Path, longest: int) -> Tensor:
    """Token ids (N, T) int64 with [CLS] and [SEP], padded with 0 to the longest of the texts; T is ``longest`` at most.

    ``tokenizer`` is a tokenizer.json. A text that is longer keeps its beginning.
    """
    from tokenizers import Tokenizer  # alone: by transformers it would come with seconds of other imports

    own = Tokenizer.from_file(str(tokenizer))
    own.enable_truncation(longest)
    own.no_padding()
    encoded = [encoding.ids for encoding in own.encode_batch(list(texts))]
    ids = torch.full((len(encoded), max(map(len, encoded), default=0)), PADDING)
    for row, found in zip(ids, encoded, strict=True):
        row[: len(found)] = torch.tensor(found)
    return ids


def lengths(ids: Tensor) -> Tensor:
    """Tokens of each text (B,), of padded ids (B, T)."""
    return (ids != PADDING).sum(1)


def trimmed(ids: Tensor) -> Tensor:
    """Padded ids (B, T) without the columns that only padding is in: (B, longest of the batch)."""
    return ids[:, : int(lengths(ids).max())]

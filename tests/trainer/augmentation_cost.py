"""Processor time, on one thread, of augmenting 64 images and 64 texts of 50 words, and of adversarial steps beside plain ones.

usage: augmentation_cost.py [ROUNDS]. Prints JSON; medians and ranges over rounds that are interleaved.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import torch
from torch import Tensor

from paceline_trainer import augment_images
from paceline_trainer.adversarial import fgsm, pgd
from paceline_trainer.recipes import ImageClassification, TopicClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.recipes.topic_classification import TopicClassificationTask
from paceline_trainer.text.adversarial import Attack, adversarial_backward
from paceline_trainer.text.augment import Rates, augment, minilm_synonyms
from paceline_trainer.text.encoder import folder
from paceline_trainer.text.tokens import tokenize

OPERATIONS = ("replace", "insert", "swap", "delete")
Work = dict[str, Callable[[], object]]


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def of_images() -> Work:
    """64 of 28×28; the digits CNN at the recipe's width, trained on clean samples and on these and their worst forms."""
    task = ImageClassificationTask(ImageClassification())
    data, model, indices = task.splits()[0], task.model(), torch.arange(64)
    images, targets = data.inputs[:64], data.targets[:64]

    def step(*forms: Tensor) -> None:
        task.losses(model(torch.cat(forms)), targets.repeat(len(forms))).sum().backward()

    start = torch.rand(images.shape)
    options = {"padding": 2, "flip_probability": 0.5, "cutout_side": 6}
    return {
        "a step": lambda: step(images),
        "crop, flip, cutout": lambda: augment_images.augment(images, indices, seed=0, epoch=0, **options),
        "a step with fgsm": lambda: step(images, fgsm(model, task.losses, images, targets, 0.15)),
        "a step with pgd of 5": lambda: step(
            images, pgd(model, task.losses, images, targets, 0.15, start=start, steps=5)
        ),
    }


def of_texts() -> Work:
    """64 beginnings of 50 words; MiniLM on 8 of these, of which all weights are trained."""
    task = TopicClassificationTask(TopicClassification())
    texts, model = [" ".join(text.split()[:50]) for text in task.texts.texts[:64]], task.model()
    ids, targets = tokenize(texts[:8], folder() / "tokenizer.json", 64), task.texts.labels[:8]

    def augmented(*operations: str) -> list[str]:
        rates = Rates(**dict.fromkeys(operations, 0.1))
        return [augment(text, rates, seed=0, epoch=0, index=i) for i, text in enumerate(texts)]

    def loss() -> Tensor:
        return task.losses(model(ids), targets).sum()

    def step(attack: Attack) -> None:
        embedding = model.encoder.backbone.get_input_embeddings()  # type: ignore[operator, union-attr]
        adversarial_backward(
            embedding, attack, loss, lambda x, leaves: torch.autograd.backward(x, inputs=leaves), nullcontext
        )

    return {
        "a step": lambda: loss().backward(),
        "a step with fgm": lambda: step(Attack(1.0)),
        "a step with pgd of 3": lambda: step(Attack(1.0, steps=3)),
        **{name: lambda name=name: augmented(name) for name in OPERATIONS},
        "all four": lambda: augmented(*OPERATIONS),
        "tokenize": lambda: tokenize(texts, folder() / "tokenizer.json", 128),
    }


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(json.dumps({"table of synonyms, s": round(seconds(minilm_synonyms), 1)}))
    for work in (of_images(), of_texts()):
        for once in work.values():
            once()  # the first is slower
        found = [{name: seconds(once) for name, once in work.items()} for _ in range(rounds)]
        for name in work:
            ms = [1000 * one[name] for one in found]
            steps = [one[name] / one["a step"] for one in found]
            figures = {"ms": median(ms), "steps": median(steps), "from": min(steps), "to": max(steps)}
            print(json.dumps({"of": name, **{key: round(value, 3) for key, value in figures.items()}}), flush=True)


if __name__ == "__main__":
    main()

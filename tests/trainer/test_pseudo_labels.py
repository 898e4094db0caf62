"""Samples without labels: which they are, what a teacher makes of them, and a file of more."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from paceline_trainer.distillation import UNLABELLED, pseudo_labels
from paceline_trainer.distributed import World
from paceline_trainer.loaded import load
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.task import Arrays
from paceline_trainer.text.datasets import UnlabelledError, lines
from tests.trainer.models import images, leave
from tests.trainer.text_losses import PARAMS, FewTexts

ALONE = World(0, 1, torch.device("cpu"), "gloo")
# Probabilities 0.5, 0.9 and 0.98 of the first, the second and the third class.
LOGITS = torch.tensor([[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [0.01, 0.01, 0.98]]).log()


@pytest.mark.parametrize(
    ("confidence", "classes"),
    [
        (0.0, [UNLABELLED, UNLABELLED, UNLABELLED]),
        (0.4, [0, 1, 2]),
        (0.89, [UNLABELLED, 1, 2]),
        (0.95, [UNLABELLED, UNLABELLED, 2]),
        (1.0, [UNLABELLED, UNLABELLED, UNLABELLED]),
    ],
)
def test_a_class_is_given_where_the_teacher_is_sure_of_it(confidence, classes):
    found = pseudo_labels(LOGITS, confidence)
    assert found.classes.tolist() == classes
    assert (found.sure, found.unsure) == (3 - classes.count(UNLABELLED), classes.count(UNLABELLED))


def splits(**values):
    task = ImageClassificationTask(ImageClassification(width=4, **values))
    return task, *task.splits()


def keys(data):
    return {image.numpy().tobytes() for image in data.inputs}


def test_the_share_with_labels_is_of_every_class_and_the_same_with_any_seed():
    task, some, held_out = splits(labelled=0.1)
    _, whole, all_held_out = splits()
    assert torch.equal(held_out.inputs, all_held_out.inputs)
    assert torch.equal(held_out.targets, all_held_out.targets)
    counts, of = some.targets.bincount(), whole.targets.bincount()
    assert counts.tolist() == [round(int(count) * 0.1) for count in of]
    assert torch.equal(splits(labelled=0.1, seed=5)[1].inputs, some.inputs)
    others = task.unlabelled()
    assert len(others) + len(some) == len(whole)
    assert not keys(others) & keys(some)
    assert splits(labelled=0.0001)[1].targets.bincount().tolist() == [1] * 10, "one of each at least"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return images(tmp_path_factory.mktemp("teacher") / "model", width=8)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_what_the_teacher_is_sure_of_has_its_class_and_the_rest_is_for_soft_targets(teacher, alpha):
    task, data, _ = splits(labelled=0.2, teacher=str(teacher), confidence=0.8, alpha=alpha)
    said: list[str] = []
    taught = task.training(data, ALONE, said.append)
    with torch.no_grad():
        probability, classes = load(teacher).model(task.unlabelled().inputs).softmax(1).max(1)
    sure = probability >= 0.8
    assert 0 < sure.sum() < len(sure)
    assert torch.equal(taught.targets[: len(data), 0].long(), data.targets)
    found = taught.targets[len(data) :, 0].long()
    given = torch.where(sure, classes, UNLABELLED)
    assert torch.equal(found, given if alpha else given[sure])
    rest = "learned from by soft targets alone" if alpha else "left out"
    assert said[1] == (
        f"teacher: {int(sure.sum())} unlabelled samples are given its class, {int((~sure).sum())} are {rest}"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "unlabelled: .*: No such file.*name a text file that every process can read"),
        (b"\n  \n", "unlabelled: there is no text in .*: write one in each line"),
        (b"good\n\xa3 5\n", "unlabelled: .* is no UTF-8 at byte 5: save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path, content, words):
    path = tmp_path / "more.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnlabelledError, match=words):
        lines(path)


def test_the_texts_of_a_file_are_its_lines(tmp_path):
    path = tmp_path / "more.txt"
    path.write_text("\ufeffA café. \r\n\n  two\n", encoding="utf-8")
    assert lines(path) == ["A café.", "two"]


def test_texts_of_a_file_are_read_by_the_teacher_with_as_many_tokens_as_it_knows(tmp_path):
    torch.manual_seed(4)
    knows = dataclasses.replace(PARAMS, max_tokens=32, layers=1)
    folder = leave(tmp_path / "model", "topic-classification", knows, FewTexts(knows).model())
    file = tmp_path / "more.txt"
    file.write_text("shares of a bank\n" + "word " * 40 + "\n", encoding="utf-8")
    params = dataclasses.replace(PARAMS, max_tokens=8, teacher=str(folder), unlabelled=str(file), hidden=1.0, swap=0.9)
    task = FewTexts(params)
    data, _ = task.splits()
    taught = task.training(data, ALONE, lambda _: None)
    assert len(taught) == len(data) + 2
    assert taught.targets.shape[1] == 1 + 5 + 384
    assert taught.targets[-2:, 0].tolist() == [UNLABELLED] * 2
    teacher = load(folder)
    model, ids = teacher.model, teacher.task._tokenized(["word " * 40])
    assert ids.shape[1] == 32
    with torch.no_grad():
        features = model.encoder(ids)
        assert torch.allclose(taught.targets[-1:, 1:6], model.head(features), atol=1e-5)
        assert torch.allclose(taught.targets[-1:, 6:], features, atol=1e-5)
    last = torch.tensor([len(taught) - 2])
    inputs, targets = task.batch(taught, last, last, 0, 1)
    assert torch.equal(targets, taught.targets[last])
    assert not torch.equal(inputs, taught.inputs[last, : inputs.shape[1]]), "its words are swapped"


def test_padded_samples_are_joined_at_the_longer_width():
    a = Arrays(torch.tensor([[5, 6, 0]]), torch.tensor([1]), torch.tensor([2]), torch.tensor([0]))
    b = Arrays(torch.tensor([[7, 8, 9, 4]]), torch.tensor([-1]), torch.tensor([4]), torch.tensor([9]))
    both = a + b
    assert both.inputs.tolist() == [[5, 6, 0, 0], [7, 8, 9, 4]]
    assert (both.targets.tolist(), both.lengths.tolist(), both.origins.tolist()) == ([1, -1], [2, 4], [0, 9])

"""A student learns from a teacher: the losses by their formula, the teacher's outputs as it gives them, in every layout."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from paceline_trainer import recipes
from paceline_trainer.distillation import UNLABELLED, Mixture, soft_losses
from paceline_trainer.distributed import World
from paceline_trainer.loaded import ModelError, load
from paceline_trainer.params import ParamError, parse, schema
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from tests.trainer.conftest import environment, run_recipe
from tests.trainer.models import images

ALONE = World(0, 1, torch.device("cpu"), "gloo")
IMAGES, TEXTS = recipes.ImageClassification, recipes.TopicClassification
numbers = st.floats(-9, 9)
logits = st.lists(numbers, min_size=3, max_size=3)


def softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def by_hand(student, teacher, label, alpha, temperature) -> float:
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    hard = 0.0 if label == UNLABELLED else -math.log(softmax(student, 1.0)[label])
    return (1 - alpha) * hard + alpha * temperature**2 * kl


@given(
    student=logits,
    teacher=logits,
    label=st.integers(UNLABELLED, 2),
    alpha=st.floats(0, 1),
    temperature=st.floats(0.5, 20),
    features=st.lists(numbers, min_size=4, max_size=4),
    hidden=st.sampled_from([0.0, 0.7]),
)
def test_the_loss_is_that_of_the_formula(student, teacher, label, alpha, temperature, features, hidden):
    outputs = torch.tensor([[*student, *features[:2]]], dtype=torch.float64)
    targets = torch.tensor([[label, *teacher, *features[2:]]], dtype=torch.float64)
    squares = [(features[0] - features[2]) ** 2, (features[1] - features[3]) ** 2]
    expected = by_hand(student, teacher, label, alpha, temperature) + hidden * sum(squares) / 2
    found = Mixture(3, alpha, temperature, hidden).losses(outputs, targets)
    assert found.tolist() == pytest.approx([expected], rel=1e-6, abs=1e-9)


@given(student=logits, teacher=logits)
def test_at_a_high_temperature_logits_are_compared_by_squares(student, teacher):
    # Hinton et al. 2015, section 2.1: of logits less their mean, sum of squares / 2 C.
    a, b = (torch.tensor([values], dtype=torch.float64) for values in (student, teacher))
    distance = (a - a.mean()) - (b - b.mean())
    assert soft_losses(a, b, 1e5).tolist() == pytest.approx([float((distance**2).sum()) / 6], rel=1e-2, abs=1e-4)


@given(student=logits, teacher=logits, label=st.integers(0, 2))
def test_alpha_chooses_between_labels_and_teacher(student, teacher, label):
    outputs = torch.tensor([student], dtype=torch.float64)
    targets = torch.tensor([[label, *teacher]], dtype=torch.float64)
    other = torch.tensor([[(label + 1) % 3, *teacher]], dtype=torch.float64)
    plain = torch.nn.functional.cross_entropy(outputs, torch.tensor([label]))
    assert Mixture(3, 0.0, 2.0).losses(outputs, targets).tolist() == pytest.approx([float(plain)])
    only = Mixture(3, 1.0, 2.0)
    assert only.losses(outputs, targets).tolist() == only.losses(outputs, other).tolist()


def test_gradients_of_soft_targets_are_of_the_same_size_at_any_temperature():
    student, teacher = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), torch.tensor([[0.3, 0.4, -1.0]]).double()
    for temperature in (1.0, 4.0, 50.0):
        asked = student.clone().requires_grad_()
        soft_losses(asked, teacher, temperature).sum().backward()
        distance = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
        assert torch.allclose(asked.grad, temperature * distance)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return images(tmp_path_factory.mktemp("teacher") / "model", width=8)


def test_targets_are_the_teachers_own_outputs_and_evaluation_is_by_labels(teacher):
    task = ImageClassificationTask(IMAGES(teacher=str(teacher), width=4))
    data, held_out = task.splits()
    said: list[str] = []
    taught = task.training(data, ALONE, said.append)
    with torch.no_grad():
        expected = load(teacher).model(data.inputs)
    assert torch.allclose(taught.targets[:, 1:], expected, atol=1e-5)
    assert torch.equal(taught.targets[:, 0].long(), data.targets)
    assert len(said) == 1
    assert said[0].startswith(f"teacher: {len(data)} samples read in ")
    outputs = torch.randn(len(held_out), 10)
    plain = torch.nn.functional.cross_entropy(outputs, held_out.targets, reduction="none")
    assert torch.equal(task.losses(outputs, held_out.targets), plain)


def test_augmented_samples_have_the_targets_of_those_that_they_are_made_of(teacher):
    task = ImageClassificationTask(IMAGES(teacher=str(teacher), crop=3, width=4))
    data = task.training(task.splits()[0], ALONE, lambda _: None)
    indices = torch.tensor([3, 1])
    inputs, targets = task.batch(data, indices, indices, 0, 1)
    assert torch.equal(targets, data.targets[indices])
    assert not torch.equal(inputs, data.inputs[indices])


def test_the_cache_and_the_losses_are_the_same_at_two_processes_and_in_any_layout(distilled):
    alone, together = distilled(1), distilled(2)
    assert len(together) > len(alone) > 4
    for name, found in together.items():
        expected = alone.get(name) or alone[f"{name.split()[0]} ddp"]
        assert found["cache"] == expected["cache"], name
        assert found["names"] == expected["names"], name
        # Rounding is of float32: 2e-7 seen. Of float64: 5e-16.
        limit = 1e-4 if name.startswith("rounding") else 1e-9
        assert found["losses"] == pytest.approx(expected["losses"], rel=0, abs=limit), name


def test_a_run_with_a_teacher_resumes_and_its_student_needs_no_teacher_any_more(teacher, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(teacher, folder)
    params = {"teacher": str(folder), "labelled": 0.3, "confidence": 0.8, "width": 4, "batch_size": 200}
    kept = {"PACELINE_CHECKPOINT_DIR": str(tmp_path / "job")}
    run_recipe(tmp_path / "first", "image-classification", {**params, "epochs": 1}, 1, **kept)
    resumed = run_recipe(tmp_path / "second", "image-classification", {**params, "epochs": 2}, 1, **kept)
    at_once = run_recipe(tmp_path / "third", "image-classification", {**params, "epochs": 2}, 1)
    assert "resumed from step 8" in resumed["stdout"]
    assert resumed["report"]["losses"] == pytest.approx(at_once["report"]["losses"], rel=0, abs=1e-6)
    assert "unlabelled samples are given its class" in resumed["stdout"]
    shutil.rmtree(folder)
    program = (
        "import sys; from pathlib import Path; from paceline_trainer.loaded import load\n"
        "found = load(Path(sys.argv[1])); data, held_out = found.task.splits()\n"
        "print(float((found.model(held_out.inputs).argmax(1) == held_out.targets).float().mean()))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "third")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout
    assert float(said) == pytest.approx(at_once["manifest"]["metrics"]["accuracy"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(f.with_name("gone")), "teacher: no model in .*: there is no such folder"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "teacher: .* its sha256 differs"),
        (
            lambda f: (f / "manifest.json").write_text(
                json.dumps({**json.loads((f / "manifest.json").read_text()), "recipe": "topic-classification"})
            ),
            "teacher: .* of the recipe topic-classification: take one of the recipe that is run",
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_said_when_training_begins(tmp_path, change, words):
    folder = images(tmp_path / "model")
    change(folder)
    task = ImageClassificationTask(IMAGES(teacher=str(folder)))
    data, _ = task.splits()
    with pytest.raises(ModelError, match=words):
        task.training(data, ALONE, print)


@pytest.mark.parametrize(
    ("params", "values", "why"),
    [
        (IMAGES, {"confidence": 0.9}, "set teacher, or confidence to 0"),
        (IMAGES, {"teacher": "t", "folds": 2}, "seen every fold"),
        (IMAGES, {"start_from": "s", "folds": 2}, "seen every fold"),
        (IMAGES, {"teacher": "t", "mixup": 0.2}, "not of a mixture"),
        (IMAGES, {"keep_zeros": True}, "set start_from"),
        (IMAGES, {"quantization_aware": "int8-dynamic", "precision": "fp8"}, "take another precision"),
        (IMAGES, {"quantization_aware": "int4-weight", "tensor_parallel": 2, "parallel": "fsdp"}, "tensor_parallel 1"),
        (TEXTS, {"hidden": 1.0}, "set teacher"),
        (TEXTS, {"unlabelled": "u"}, "set teacher"),
        (TEXTS, {"tuning": "frozen", "start_from": "s"}, "read by the pretrained encoder"),
        (TEXTS, {"tuning": "frozen", "teacher": "t", "hidden": 1.0}, "no hidden state learns"),
        (TEXTS, {"tuning": "lora", "start_from": "s", "keep_zeros": True}, "added to the zeros"),
        (TEXTS, {"tuning": "adalora", "start_from": "s", "keep_zeros": True}, "added to the zeros"),
        (TEXTS, {"tuning": "adapters", "start_from": "s", "keep_zeros": True}, "stays zero without"),
        (TEXTS, {"tuning": "frozen", "quantization_aware": "int8-dynamic"}, "no layer learns"),
        (TEXTS, {"tuning": "lora", "quantization_aware": "int8-dynamic"}, "merged before"),
        (TEXTS, {"tuning": "adalora", "quantization_aware": "int4-weight"}, "merged before"),
    ],
)
def test_what_cannot_be_is_refused_by_the_trainer_and_by_the_schema(params, values, why):
    with pytest.raises(ParamError, match=why):
        parse(params, values)
    found = list(Draft202012Validator(schema(params)).iter_errors({**dataclasses.asdict(params()), **values}))
    assert any(why in error.schema.get("description", "") for error in found)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (IMAGES, {"teacher": "t", "confidence": 0.9, "pipeline_stages": 2, "patience": 3}),
        (IMAGES, {"start_from": "s", "keep_zeros": True, "parallel": "fsdp", "tensor_parallel": 2}),
        (IMAGES, {"quantization_aware": "int8-dynamic", "parallel": "fsdp", "precision": "fp16"}),
        (TEXTS, {"teacher": "t", "tuning": "frozen", "layers": 2, "unlabelled": "u"}),
        (TEXTS, {"teacher": "t", "tuning": "lora", "start_from": "s", "hidden": 1.0}),
        (TEXTS, {"labelled": 0.1, "folds": 2}),
    ],
)
def test_what_works_is_not_refused(params, values):
    parse(params, values)
    Draft202012Validator(schema(params)).validate({**dataclasses.asdict(params()), **values})

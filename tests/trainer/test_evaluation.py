"""Metrics: scikit-learn's on the gathered predictions, at any number of processes; plots, report, folds, early stopping."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn import metrics as sk

from paceline_trainer import recipes
from paceline_trainer.evaluation.classification import calibration_bins, calibration_error, classification
from paceline_trainer.evaluation.folds import folds, summarised
from paceline_trainer.evaluation.metrics import evaluation
from paceline_trainer.evaluation.plots import pictures
from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.evaluation.report import markdown
from paceline_trainer.optimization.early_stopping import kept_back
from paceline_trainer.params import parse
from tests.trainer.conftest import run_recipe, written_by


def predictions(logits: torch.Tensor, targets: torch.Tensor) -> Predictions:
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return Predictions(torch.arange(len(targets)), logits, targets, losses)


def random_predictions(count: int, classes: int, seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64).mul(2).round(decimals=1)  # with ties
    return predictions(logits, torch.randint(classes, (count,), generator=generator))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    def get(processes: int):
        return written_by("evaluate_uneven.py", processes, tmp_path_factory.mktemp("uneven"))

    return get


def test_metrics_do_not_depend_on_the_number_of_processes(uneven):
    alone, together = uneven(1), uneven(3)
    assert alone.keys() == together.keys()
    for name, one in alone.items():
        assert together[name]["metrics"] == pytest.approx(one["metrics"], rel=1e-6), name
        assert together[name]["details"].get("confusion_matrix") == one["details"].get("confusion_matrix"), name
        for here, there in zip(
            *(found[name]["details"].get("by_class", []) for found in (alone, together)), strict=True
        ):
            expected = {k: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for k, v in here.items()}
            assert there == expected, name


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_metrics_are_scikit_learns(classes):
    given = random_predictions(301, classes)
    found = evaluation(given, [str(i) for i in range(classes)])
    probabilities, said, true = given.outputs.softmax(1).numpy(), given.outputs.argmax(1).numpy(), given.targets.numpy()
    auc = sk.roc_auc_score(true, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr")
    expected = {
        "accuracy": sk.accuracy_score(true, said),
        "precision": sk.precision_score(true, said, average="macro"),
        "recall": sk.recall_score(true, said, average="macro"),
        "f1": sk.f1_score(true, said, average="macro"),
        "f1_micro": sk.f1_score(true, said, average="micro"),
        "roc_auc": auc,
        "loss": sk.log_loss(true, probabilities),
        "perplexity": math.exp(sk.log_loss(true, probabilities)),
        "brier": ((probabilities - torch.eye(classes)[true].numpy()) ** 2).sum(1).mean(),
    }
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert found.details["confusion_matrix"] == sk.confusion_matrix(true, said).tolist()


def test_classes_that_never_come_count_as_nothing_and_have_no_roc():
    logits = torch.tensor([[2.0, 1, 0], [1.0, 2, 0], [3.0, 0, 0]])
    found = classification(predictions(logits, torch.tensor([0, 0, 1])), ["a", "b", "never"])
    never = found.details["by_class"][2]
    assert (never["precision"], never["recall"], never["roc_auc"], never["samples"]) == (0, 0, None, 0)
    assert set(found.details["roc"]) == {"a", "b"}
    same = classification(predictions(logits, torch.tensor([0, 0, 0])), ["a", "b", "never"])
    assert "roc_auc" not in same.metrics, "of samples of one class there is none"


def test_calibration_is_its_definition():
    # 0.9 sure four times and right twice; 0.6 sure once, and right.
    probabilities = torch.tensor([[0.9, 0.1]] * 4 + [[0.6, 0.4]]).double().numpy()
    bins = calibration_bins(probabilities, torch.tensor([0, 0, 1, 1, 0]).numpy())
    assert [(one["samples"], one["accuracy"]) for one in bins] == [(1, 1.0), (4, 0.5)]
    assert calibration_error(bins) == pytest.approx(4 / 5 * 0.4 + 1 / 5 * 0.4)


def test_outputs_that_are_not_finite_are_left_out_and_said():
    given = random_predictions(10, 3)
    given.outputs[4] = math.nan
    found = evaluation(predictions(given.outputs, given.targets), "abc")
    rest = torch.arange(10) != 4
    assert found.metrics["not_finite"] == pytest.approx(0.1)
    expected = evaluation(predictions(given.outputs[rest], given.targets[rest]), "abc").metrics
    assert {name: value for name, value in found.metrics.items() if name != "not_finite"} == expected
    assert evaluation(predictions(given.outputs * math.nan, given.targets), "abc").metrics == {"not_finite": 1.0}


def test_there_are_pictures_of_a_classifier_and_of_a_regression():
    found = evaluation(random_predictions(60, 3), ["cat", "dog", "owl"])
    drawn = pictures([3.0, 2.0, math.nan, 1.0], 2, found.details)
    assert set(drawn) == {"loss.png", "confusion.png", "roc.png", "calibration.png"}
    line = torch.linspace(0, 1, 9)
    regressed = evaluation(Predictions(torch.arange(9), line, line + 0.1, torch.full((9,), 0.01)), ())
    assert regressed.metrics["mae"] == pytest.approx(0.1)
    drawn |= pictures([1.0], 1, regressed.details)
    assert "predictions.png" in drawn
    assert all(image.startswith(b"\x89PNG") and len(image) > 5000 for image in drawn.values())


def test_the_page_names_classes_and_shows_the_pictures():
    found = evaluation(random_predictions(60, 3), ["cat", "dog", "owl"])
    manifest = {"recipe": "r", "dataset": "d", "parameters": 5, "world_size": 2, "seconds": 1.0, "params": {"lr": 0.1}}
    report = {"evaluation": found.metrics, "samples": 60, "loss_by_epoch": [1.0, None], **found.details}
    page = markdown(manifest, report, ["roc.png"])
    assert f"| accuracy | {found.metrics['accuracy']:.4f} |" in page
    assert "| owl |" in page
    assert "![ROC](roc.png)" in page
    assert '"lr": 0.1' in page


@given(
    targets=st.lists(st.integers(0, 4), min_size=2, max_size=80).map(torch.tensor),
    count=st.integers(2, 9),
    seed=st.integers(0, 99),
    stratified=st.booleans(),
)
def test_folds_hold_every_sample_out_once_and_are_even(targets, count, seed, stratified):
    if len(targets) < count:
        with pytest.raises(ValueError, match="cannot be held out"):
            folds(targets, count, seed, stratified=stratified)
        return
    found = folds(targets, count, seed, stratified=stratified)
    assert sorted(torch.cat(found).tolist()) == list(range(len(targets)))
    sizes = [len(fold) for fold in found]
    assert max(sizes) - min(sizes) <= 1
    if stratified:
        for label in set(targets.tolist()):
            shares = [Counter(targets[fold].tolist())[label] for fold in found]
            assert max(shares) - min(shares) <= 1
    again = folds(targets, count, seed, stratified=stratified)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_folds_are_summarised_by_mean_and_sample_deviation():
    found = summarised([{"loss": 1.0, "r2": 0.5}, {"loss": 2.0}, {"loss": 6.0, "r2": 0.7}])
    assert (found["mean"], found["deviation"]) == ({"loss": 3.0}, {"loss": pytest.approx(math.sqrt(7))})


def test_a_run_cross_validates_first_and_goes_on_from_the_folds_that_are_done(tmp_path):
    params = {"epochs": 2, "folds": 3, "lr": 0.2}
    result = run_recipe(tmp_path / "out", "linear-regression", params, 2)
    cross = result["report"]["folds"]
    assert len(cross["each"]) == 3
    assert cross["mean"]["mse"] == pytest.approx(sum(one["mse"] for one in cross["each"]) / 3)
    assert len({one["mse"] for one in cross["each"]}) == 3, "each on its own samples"
    assert "fold-3: step=" in result["stdout"]
    assert "## Cross-validation" in (tmp_path / "out/report.md").read_text(encoding="utf-8")
    plain = run_recipe(tmp_path / "plain", "linear-regression", {**params, "folds": 0}, 2)
    assert plain["manifest"]["sha256"] == result["manifest"]["sha256"], "the model is that of a run without folds"

    task = recipes.load("linear-regression")(parse(recipes.PARAMS["linear-regression"], params))
    identity = {
        "recipe": "linear-regression",
        **{k: v for k, v in result["manifest"]["params"].items() if k not in recipes.MAY_CHANGE},
    }
    again = tmp_path / "again"
    again.mkdir()
    done = {"of": identity, "metrics": [{"mse": 42.0}, {"mse": 43.0}]}
    (again / "folds.json").write_text(json.dumps(done), encoding="utf-8")
    resumed = run_recipe(again, "linear-regression", params, 2)
    assert task.classes == ()
    assert [one["mse"] for one in resumed["report"]["folds"]["each"]][:2] == [42.0, 43.0]
    assert "fold-2" not in resumed["stdout"]
    assert not (again / "folds.json").exists()


def kept_back_losses(output: Path) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars("kept_back/loss")]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_ends_where_it_gets_no_better_and_has_its_best_weights(tmp_path, parallel):
    params = {"parallel": parallel, "epochs": 60, "patience": 2, "lr": 0.3, "batch_size": 16, "optimizer": "adamw"}
    store = str(tmp_path / "checkpoints")
    result = run_recipe(tmp_path / "out", "linear-regression", params, 2, PACELINE_CHECKPOINT_DIR=store)
    losses = kept_back_losses(tmp_path / "out")
    epochs = len(result["report"]["loss_by_epoch"])
    assert len(losses) == epochs < 60
    best = losses.index(min(losses)) + 1
    assert best == epochs - 2, "two epochs more, without one that is better"
    task = recipes.load("linear-regression")(parse(recipes.PARAMS["linear-regression"], params))
    _, held = kept_back(task.splits()[0], task)
    model = task.model()
    model.load_state_dict(load_file(tmp_path / "out/model.safetensors"))
    with torch.no_grad():
        loss = float(task.losses(model(held.inputs), held.targets).mean())
    assert loss == pytest.approx(min(losses), rel=1e-5)
    # A run that is started once more finds that it had ended.
    again = run_recipe(tmp_path / "again", "linear-regression", params, 1, PACELINE_CHECKPOINT_DIR=store)
    assert again["report"]["losses"] == result["report"]["losses"]
    assert again["manifest"]["sha256"] == result["manifest"]["sha256"]

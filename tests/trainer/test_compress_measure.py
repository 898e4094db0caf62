"""Models are timed in turns; scores are the repository's own, of the runtime that serves."""

from __future__ import annotations

import math

import pytest
import torch

from paceline_trainer.compress.judge import environment, latencies, speed
from paceline_trainer.compress.measure import TURN, WARM_UP, Latency, interleaved
from paceline_trainer.compress.request import Measure
from paceline_trainer.compress.runtimes import Eager
from paceline_trainer.compress.scores import logits, scores, standard_error
from paceline_trainer.compress.subject import fitted
from paceline_trainer.compress.telling import Telling
from paceline_trainer.evaluation.metrics import evaluation
from paceline_trainer.evaluation.predictions import Predictions
from paceline_trainer.task import Arrays
from tests.trainer.compressing import some_texts, tiny_text


def test_models_take_turns_and_another_one_is_first_in_each_round():
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    found = interleaved(runs, 200, rounds=4)
    assert all(len(one) == 50 for latency in found.values() for one in latency.rounds)
    assert {name: len(latency.rounds) for name, latency in found.items()} == {"a": 4, "b": 4, "c": 4}
    turns = order[3 * WARM_UP :: 50 + TURN]
    assert "".join(turns) == "abcbcacababc"


def test_at_least_so_many_runs_and_only_the_run_itself_is_timed():
    now = 0.0

    def run() -> None:
        nonlocal now
        now += 0.002

    found = interleaved({"a": run}, 201, rounds=8, clock=lambda: now)["a"]
    assert sum(map(len, found.rounds)) == 208
    assert found.percentile(50) == pytest.approx(2.0)
    assert found.mean == pytest.approx(2.0)


def test_the_spread_is_that_of_the_middle_half_of_the_rounds_medians():
    assert Latency(tuple((0.0, median, 99.0) for median in (1.0, 1.0, 2.0, 3.0, 50.0))).spread == 2.0


def test_latencies_as_they_are_reported():
    found = latencies(Latency(((2.0, 2.0),)), Latency(((4.0, 4.0),)), batch=8)
    assert found == {
        "latencyP50": 2.0,
        "latencyP95": 2.0,
        "latencyP99": 2.0,
        "latencyP50Spread": 0.0,
        "throughput": 4000.0,
        "baselineLatencyP50": 4.0,
        "baselineLatencyP95": 4.0,
        "baselineLatencyP99": 4.0,
        "baselineLatencyP50Spread": 0.0,
        "baselineThroughput": 2000.0,
    }


@pytest.mark.parametrize(
    ("latency", "baseline", "words"),
    [(1.0, 2.5, "2.50× faster"), (3.0, 1.5, "2.00× slower"), (1.0, 1.05, "1.05× faster, within the spread")],
)
def test_slower_is_called_slower(latency, baseline, words):
    assert speed(latency, baseline, 0.1) == words


def test_the_environment_names_what_figures_hold_for():
    found = environment("onnxruntime", Measure(batch=4, threads=2), texts=True)
    assert (found["device"], found["batch"], found["threads"], found["tokens"]) == ("cpu", "4", "2", "32")
    assert all(isinstance(text, str) and text for text in found.values())
    assert "tokens" not in environment("pytorch", Measure(), texts=False)


def test_the_standard_error():
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    assert standard_error(1.0, 100) == 0.0


def test_scores_are_those_of_the_evaluation(cnn, digits):
    outputs = logits(Eager(cnn), digits.evaluation)
    with torch.no_grad():
        expected = cnn(digits.evaluation.inputs)
    torch.testing.assert_close(outputs, expected)
    found = scores(digits, outputs)
    losses = digits.task.losses(expected, digits.evaluation.targets)
    predictions = Predictions(torch.arange(len(expected)), expected, digits.evaluation.targets, losses)
    assert {name: found[name] for name in evaluation(predictions, digits.task.classes).metrics} == pytest.approx(
        evaluation(predictions, digits.task.classes).metrics, abs=1e-5
    )
    accuracy, count = found["accuracy"], len(digits.evaluation)
    assert found["evaluationSamples"] == count
    assert found["accuracyStandardError"] == math.sqrt(accuracy * (1 - accuracy) / count)


def test_texts_are_computed_by_length_and_come_back_in_order():
    ids = some_texts(70)
    model = tiny_text()
    shapes: list[int] = []

    class Seen(Eager):
        def __call__(self, inputs):
            shapes.append(inputs.shape[1])
            return super().__call__(inputs)

    outputs = logits(Seen(model), Arrays(ids, torch.zeros(70)))
    with torch.no_grad():
        torch.testing.assert_close(outputs, model(ids))
    assert shapes == [12, 12]
    assert fitted(ids, 5).shape == (70, 5)
    assert fitted(ids, 20).shape == (70, 20)
    assert int(fitted(ids, 20)[:, 12:].sum()) == 0


def test_percentages_go_up_step_by_step_and_long_ones_are_told_of(capsys):
    now = 0.0
    telling = Telling({}, clock=lambda: now)
    sent: list[dict[str, object]] = []
    telling._reporter.report = lambda body: sent.append(body["trainerStatus"])  # type: ignore[method-assign]
    telling.step("measuring", "measuring", 40, 60)
    telling.progress(1, 4)
    now = 6.0
    telling.progress(2, 4)
    assert [(one["activity"], one["progressPercentage"]) for one in sent] == [
        ("measuring", 40),
        ("measuring", 45),
        ("measuring", 50),
    ]
    assert capsys.readouterr().out == "measuring …\nmeasuring: 2 of 4\n"

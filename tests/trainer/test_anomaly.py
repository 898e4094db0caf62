"""Anomalies: each kind is seen in the step that has it, and a noisy curve has none."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.optimization.clipping import gradient_norm
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.watching.anomaly import Action, Detector, Kind


def noisy(steps: int, seed: int, noise: float) -> list[tuple[float, float]]:
    """(loss, gradient norm) of a falling curve with log-normal noise."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(steps, 2, generator=generator)
    return [
        ((0.1 + 2 * math.exp(-step / 100)) * math.exp(noise * float(a)), math.exp(noise * float(b)))
        for step, (a, b) in enumerate(draws)
    ]


def fed(detector: Detector, curve: list[tuple[float, float]]) -> Detector:
    for step, (loss, norm) in enumerate(curve):
        assert detector.check(step, loss, norm) is None, step
    return detector


@pytest.mark.parametrize(
    ("loss", "norm", "kind", "words"),
    [
        (math.nan, 1.0, Kind.NOT_FINITE, "loss is nan"),
        (math.inf, 1.0, Kind.NOT_FINITE, "loss is inf"),
        (0.3, math.nan, Kind.NOT_FINITE, "gradient norm is nan"),
        (8.0, 1.0, Kind.SPIKE, "above the median"),
        (0.3, 50.0, Kind.EXPLOSION, "0.9 quantile"),
    ],
)
@pytest.mark.parametrize("action", list(Action))
def test_each_kind_is_told_at_once_with_the_action_that_was_asked_for(loss, norm, kind, words, action):
    detector = fed(Detector(action), noisy(200, 1, 0.2))
    found = detector.check(200, loss, norm)
    assert found is not None
    assert (found.kind, found.action) == (kind, action)
    assert "step 200: " in found.because
    assert words in found.because
    # It left no trace in the windows: the next good step is good, the next bad one is bad.
    assert detector.check(201, 0.3, 1.0) is None
    assert detector.check(202, loss, norm) is not None


def test_nan_is_told_in_the_very_first_step():
    assert Detector(Action.STOP).check(0, math.nan) is not None


def test_spikes_and_explosions_need_steps_to_compare_with():
    detector = Detector(Action.STOP, warmup=5)
    curve = [(1.0, 1.0), (900.0, 800.0), (1.0, 1.0), (1.1, 1.0), (0.9, 1.0)]
    fed(detector, curve)
    assert detector.check(5, 900.0, 1.0) is not None


@given(seed=st.integers(0, 10_000), noise=st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_a_noisy_curve_gives_no_false_alarm(seed, noise):
    fed(Detector(Action.STOP), noisy(300, seed, noise))


@given(level=st.floats(1e-6, 10))
def test_losses_that_hardly_vary_give_no_false_alarm(level):
    fed(Detector(Action.STOP), [(level * (1 + 1e-6 * (step % 3)), 1.0) for step in range(60)])
    fed(Detector(Action.STOP), [(level, 0.0) for _ in range(40)] + [(level * 1.05, 0.0)])


def test_the_digits_cnn_gives_no_false_alarm_and_a_broken_batch_does():
    params = ImageClassification(width=4, lr=0.004)
    task = ImageClassificationTask(params)
    data, _ = task.splits()
    torch.manual_seed(0)
    model, detector = task.model(), Detector(Action.SKIP)
    optimizer = AdamW(model.parameters(), lr=params.lr)

    def figures(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        return loss.item(), gradient_norm(model.parameters())

    step = 0
    for epoch in range(4):
        for batch in global_batches(epoch_order(len(data), 0, epoch), 64):
            found = detector.check(step, *figures(data.inputs[batch], data.targets[batch]))
            assert found is None, found
            optimizer.step()
            step += 1
    batch = torch.arange(64)
    broken = detector.check(step, *figures(data.inputs[batch] * 255, data.targets[batch]))
    assert broken is not None
    assert broken.kind is Kind.SPIKE
    nan = detector.check(step, *figures(data.inputs[batch] * torch.nan, data.targets[batch]))
    assert nan is not None
    assert nan.kind is Kind.NOT_FINITE


def test_anomalies_that_do_not_end_stop_the_run():
    detector = Detector(Action.SKIP, limit=3)
    actions = [detector.check(step, math.nan).action for step in range(5)]
    assert actions == [Action.SKIP] * 3 + [Action.STOP] * 2


@given(cut=st.integers(0, 120))
@settings(max_examples=20, deadline=None)
def test_a_detector_goes_on_where_it_was(cut):
    curve = noisy(120, 5, 0.25)
    curve[60], curve[100] = (50.0, 1.0), (0.2, math.inf)
    whole, first, second = (Detector(Action.ROLL_BACK, window=30, warmup=10) for _ in range(3))
    expected = [whole.check(step, *figures) for step, figures in enumerate(curve)]
    for step, figures in enumerate(curve[:cut]):
        first.check(step, *figures)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [second.check(step, *figures) for step, figures in enumerate(curve[cut:], cut)] == expected[cut:]
    assert [step for step, found in enumerate(expected) if found is not None] == [60, 100]


def test_an_impossible_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup"):
        Detector(Action.STOP, window=10, warmup=11)

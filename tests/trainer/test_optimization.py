"""Schedules, clipping, early stopping and precision, against closed forms, torch's own, and the single process."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, lr_scheduler
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from paceline_trainer.data import epoch_order, global_batches
from paceline_trainer.optimization.clipping import clip_by_norm, clip_by_value, gradient_norm
from paceline_trainer.optimization.early_stopping import BestWeights, EarlyStopping
from paceline_trainer.optimization.precision import Precision, PrecisionError
from paceline_trainer.optimization.schedules import Rates, schedule
from paceline_trainer.recipes import ImageClassification
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from tests.trainer.conftest import written_by

CPU = torch.device("cpu")


def optimizer_of(*rates: float) -> SGD:
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def rates_of(scheduler: lr_scheduler.LRScheduler, optimizer: SGD, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


# Schedules


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("constant", lambda o: get_constant_schedule_with_warmup(o, 7)),
        ("linear", lambda o: get_linear_schedule_with_warmup(o, 7, 50)),
        ("cosine", lambda o: get_cosine_schedule_with_warmup(o, 7, 50)),
    ],
)
def test_warmed_up_schedules_are_transformers_own(kind, theirs):
    optimizer = optimizer_of(0.3)
    expected = rates_of(theirs(optimizer), optimizer, 50)
    factor = schedule(kind, total_steps=50, warmup_steps=7)
    assert [0.3 * factor(step) for step in range(50)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"kind": "cosine", "floor": 0.1}, lambda o: lr_scheduler.CosineAnnealingLR(o, 40, eta_min=0.05)),
        ({"kind": "linear", "floor": 0.2}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, 40)),
        ({"kind": "step", "every": 9, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 9, 0.5)),
    ],
)
def test_schedules_are_torchs_own(options, theirs):
    optimizer = optimizer_of(0.5)
    expected = rates_of(theirs(optimizer), optimizer, 40)
    factor = schedule(**options, total_steps=40)
    assert [0.5 * factor(step) for step in range(40)] == pytest.approx(expected, abs=1e-12)


@given(
    kind=st.sampled_from(["constant", "cosine", "linear", "step"]),
    total=st.integers(1, 300),
    share=st.floats(0, 1, exclude_max=True),
    floor=st.floats(0, 1),
)
def test_a_schedule_rises_to_one_and_never_again(kind, total, share, floor):
    warmup = int(total * share)
    factor = schedule(kind, total_steps=total, warmup_steps=warmup, floor=floor, every=max(1, total // 3))
    values = [factor(step) for step in range(total + 5)]
    assert values[warmup] == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(values[: warmup + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(values[warmup:]))
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    if kind in ("cosine", "linear"):
        assert values[total:] == pytest.approx([floor] * 5, abs=1e-9)


def test_rates_keep_each_groups_base_and_need_only_the_step():
    factor = schedule("cosine", total_steps=10, warmup_steps=2)
    optimizer = optimizer_of(1.0, 0.1)
    rates = Rates(optimizer, factor)
    optimizer.param_groups[0]["lr"] = 77.0  # as a loaded checkpoint would
    assert rates.set(4) == pytest.approx(factor(4))
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * factor(4))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"kind": "triangle"}, "schedule"), ({"kind": "cosine", "warmup_steps": 11}, "warmup_steps")],
)
def test_an_impossible_schedule_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        schedule(**options, total_steps=10)


# Clipping


def with_gradients(*values: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value)
    return [*parameters, nn.Parameter(torch.zeros(2))]  # one without a gradient


def test_clipping_by_norm_scales_all_together():
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_by_norm(parameters, 2.5) == pytest.approx(5.0)
    assert parameters[0].grad.tolist() == pytest.approx([1.5, 0.0], rel=1e-6)
    assert parameters[1].grad.tolist() == pytest.approx([0.0, 2.0], rel=1e-6)
    assert clip_by_norm(parameters, 2.6) == pytest.approx(2.5, rel=1e-6)
    assert gradient_norm(parameters) == pytest.approx(2.5, rel=1e-6)


def test_clipping_by_norm_is_torchs_own():
    torch.manual_seed(3)
    a, b = nn.Linear(5, 4), nn.Linear(5, 4)
    for model in (a, b):
        model.load_state_dict(a.state_dict())
        (model(torch.ones(2, 5)) ** 2).sum().backward()
    theirs = nn.utils.clip_grad_norm_(a.parameters(), 0.7)
    assert clip_by_norm(b.parameters(), 0.7) == pytest.approx(float(theirs), rel=1e-6)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_clipping_by_value():
    parameters = with_gradients([3.0, -0.2], [0.1, -4.0])
    assert clip_by_value(parameters, 0.5) == pytest.approx(math.sqrt(9 + 0.04 + 0.01 + 16))
    assert parameters[0].grad.tolist() == pytest.approx([0.5, -0.2])
    assert parameters[1].grad.tolist() == pytest.approx([0.1, -0.5])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_and_nothing_is_scaled(bad):
    parameters = with_gradients([bad, 1.0], [5.0])
    assert not math.isfinite(clip_by_norm(parameters, 1.0))
    assert parameters[1].grad.tolist() == [5.0]


def test_without_gradients_the_norm_is_zero():
    assert clip_by_norm([nn.Parameter(torch.ones(2))], 1.0) == 0.0


# Early stopping


def feed(stopping: EarlyStopping, values: list[float]) -> int | None:
    """The number of the evaluation that stops it, from 1."""
    for number, value in enumerate(values, 1):
        stopping.update(value, number)
        if stopping.stop:
            return number
    return None


@pytest.mark.parametrize(
    ("options", "values", "stops", "best"),
    [
        ({"patience": 2}, [3, 2, 1, 1, 1], 5, 1),
        ({"patience": 2}, [3, 2, 2.5, 1, 1.5], None, 1),
        ({"patience": 1, "mode": "max"}, [0.5, 0.6, 0.6], 3, 0.6),
        ({"patience": 2, "min_delta": 0.1}, [1, 0.95, 0.91], 3, 1),
        ({"patience": 3, "min_delta": 0.1}, [1, 0.95, 0.85, 0.8], None, 0.85),
        ({"patience": 2}, [math.nan, math.nan], 2, None),
        ({"patience": 2}, [1, math.nan, 0.5], None, 0.5),
    ],
)
def test_early_stopping(options, values, stops, best):
    stopping = EarlyStopping(**options)
    assert feed(stopping, values) == stops
    assert stopping.best == best


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=30), cut=st.integers(0, 30))
def test_early_stopping_goes_on_where_it_was(values, cut):
    whole, first, second = (EarlyStopping(patience=3, min_delta=0.2) for _ in range(3))
    told = [(whole.update(value, step), whole.stop) for step, value in enumerate(values)]
    for step, value in enumerate(values[:cut]):
        first.update(value, step)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = [(second.update(value, step), second.stop) for step, value in enumerate(values[cut:], cut)]
    assert rest == told[cut:]


def test_the_best_weights_come_back_buffers_too():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model(torch.randn(4, 3))
    kept, before = BestWeights(), {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="no weights"):
        kept.restore(model)
    kept.keep(model)
    for parameter in model.parameters():
        parameter.data.add_(1.0)
    model(torch.randn(4, 3))
    kept.restore(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


# Precision


def digits_losses(precision: Precision, steps: int = 20) -> list[float]:
    """Losses of the first steps of the digits CNN, width 4."""
    params = ImageClassification(width=4, lr=0.006)
    task = ImageClassificationTask(params)
    data, _ = task.splits()
    torch.manual_seed(0)
    model = precision.prepare(task.model())
    optimizer = AdamW(model.parameters(), lr=params.lr)
    found = []
    for batch in global_batches(epoch_order(len(data), 0, 0), 64)[:steps]:
        optimizer.zero_grad()
        with precision.autocast():
            loss = cross_entropy(model(data.inputs[batch]), data.targets[batch])
        precision.backward(loss)
        precision.unscale(optimizer)
        assert precision.step(optimizer)
        found.append(loss.item())
    return found


# Stated in docs/optimization.md: the largest difference from float32's loss over the first 20 steps.
TOLERANCE = {"bf16": 0.1, "fp16": 0.03}


def test_smaller_types_stay_near_float32_on_the_digits():
    exact = digits_losses(Precision("fp32", CPU))
    assert exact[-1] < 0.8 * exact[0]
    for name, limit in TOLERANCE.items():
        found = digits_losses(Precision(name, CPU))
        apart = max(abs(a - b) for a, b in zip(found, exact, strict=True))
        assert 0 < apart < limit, name


def test_fp16_that_overflows_skips_the_step_and_halves_the_scale():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD([weight], lr=0.1)
    precision = Precision("fp16", CPU, initial_scale=8.0)
    for factor, stepped, value, scale in [(3e38, False, 1.0, 4.0), (2.0, True, 0.8, 4.0)]:
        optimizer.zero_grad()
        precision.backward((weight * factor).sum())
        precision.unscale(optimizer)
        assert precision.step(optimizer) is stepped
        assert weight.item() == pytest.approx(value)
        assert precision.scale == scale


def test_the_loss_scale_survives_a_resume():
    first, second = Precision("fp16", CPU, initial_scale=8.0), Precision("fp16", CPU)
    second.load_state_dict(first.state_dict())
    assert second.scale == 8.0
    changed = Precision("bf16", CPU)
    changed.load_state_dict(first.state_dict())
    assert changed.scale == 1.0


def test_autocast_computes_in_the_type_that_was_asked_for():
    for name, dtype in [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]:
        with Precision(name, CPU).autocast():
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


@pytest.mark.parametrize(("name", "named"), [("fp8", "compute capability 8.9"), ("fp4", "one of fp32")])
def test_what_the_device_cannot_do_is_refused_with_the_reason(name, named):
    with pytest.raises(PrecisionError, match=named):
        Precision(name, CPU)


# Several processes


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> dict:
    """What optimization_spread.py found in two processes."""
    return written_by("optimization_spread.py", 2, tmp_path_factory.mktemp("spread"))


def test_shards_and_stages_are_clipped_as_the_whole_model(spread):
    for kind in ("fsdp", "tensor", "stages"):
        for rank in range(2):
            assert spread[kind][rank] == pytest.approx(spread["single"][0], rel=1e-5), kind


def test_shards_keep_and_restore_their_best_weights(spread):
    assert spread["restored"] == [True, True]


def test_an_overflow_in_one_shard_skips_the_step_of_all(spread):
    assert spread["stepped"] == [[False, 4.0], [False, 4.0]]

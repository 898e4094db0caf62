"""Progress: what comes over the wire, and what stands in log lines."""

from __future__ import annotations

import pytest
import re2
from pydantic import ValidationError

from paceline.api.status import TrainingJobStatus
from paceline.controller.logs import Progress
from paceline.plan.observed import Usage
from paceline.plan.progress import duration, merge
from paceline.server.payload import Payload, to_report


def report(before=None, **status):
    return to_report(Payload.model_validate({"trainerStatus": status}), before, 5.0)


def metrics(**values):
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def test_known_metrics_have_fields_of_their_own():
    got = report(
        progressPercentage=40,
        metrics=metrics(current_step=81, total_steps=200, current_epoch=1.5, samples_per_second=8.5, loss=0.5),
    )
    assert (got.step, got.total_steps, got.epoch, got.samples_per_second) == (81, 200, "1.5", "8.5")
    assert [(m.name, m.value) for m in got.metrics] == [("loss", "0.5")]
    assert got.percent == 40.5, "the callback sends whole percents; the steps know better"


def test_what_is_left_after_the_last_step_takes_nothing_back():
    on_the_way = report(progressPercentage=99, metrics=metrics(current_step=1189, total_steps=1200))
    assert on_the_way.percent == pytest.approx(99.083, abs=0.001)
    evaluates = report(on_the_way, progressPercentage=99, metrics=metrics(current_step=1200, total_steps=1200))
    assert evaluates.percent == on_the_way.percent, "the program says 99 until all is saved"
    again = report(evaluates, progressPercentage=50, metrics=metrics(current_step=600, total_steps=1200))
    assert again.percent == 50


def test_a_final_report_keeps_what_it_leaves_out():
    first = report(progressPercentage=40, metrics=metrics(current_step=40, total_steps=100, current_epoch=1.5))
    last = report(first, progressPercentage=100, metrics=metrics(train_loss=0.25))
    assert (last.percent, last.step, last.total_steps, last.epoch) == (100, 100, 100, "1.5")


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"progressPercentage": 101}, "progressPercentage"),
        ({"estimatedRemainingSeconds": -1}, "estimatedRemainingSeconds"),
        ({"metrics": [{"name": "x" * 200, "value": "1"}]}, "metrics"),
        ({"metrics": [{"name": "x", "value": "1"}] * 65}, "metrics"),
        ({"model": {"sha256": "nope"}}, "sha256"),
        ({"usage": {"utilization": 1.1}}, "usage.utilization"),
        ({"usage": {"mfu": -0.1}}, "usage.mfu"),
        ({"usage": {"utilization": float("nan")}}, "usage.utilization"),
        ({"usage": {"samples": -1}}, "usage.samples"),
        ({"usage": {"tokens": 2**63}}, "usage.tokens"),
        ({"usage": {"evaluationSeconds": float("inf")}}, "usage.evaluationSeconds"),
        ({"usage": {"of": "x" * 129}}, "usage.of"),
        ({"usage": 1}, "usage"),
        ({"checkpoint": {"saveSeconds": -1}}, "checkpoint.saveSeconds"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(status, field):
    with pytest.raises(ValidationError, match=field):
        report(**status)


def test_use_of_the_devices_is_taken_over_and_what_is_not_known_is_ignored():
    told = {"utilization": 0.9, "of": "computation share of a step", "mfu": 0.41, "samples": 640, "tokens": 9000}
    sums = {"since": "1970-01-01T00:00:02Z", "evaluationSeconds": 3, "checkpointSeconds": 0.5}
    first = report(usage={**told, **sums, "watts": 700})
    assert first.usage == Usage(0.9, "computation share of a step", 0.41, 640, 9000, 3, 0.5, 2)
    assert report().usage is None


def test_when_a_process_began_is_unknown_while_it_lies_in_the_future():
    """Its pod's clock is ahead; those that come after it would be taken for older ones."""
    before = report(usage={"since": "1970-01-01T00:00:02Z"})
    assert report(before, usage={"since": "2026-11-23T10:00:00Z"}).usage.since is None
    with pytest.raises(ValidationError, match=r"usage\.since"):
        report(usage={"since": "2026-11-23T10:00:00"})


def test_counts_hold_until_others_are_told_and_a_utilization_for_its_moment():
    first = report(usage={"utilization": 0.9, "of": "CPU time", "samples": 640, "evaluationSeconds": 3})
    assert report(first).usage == Usage(samples=640, evaluation_seconds=3)
    assert report(first, usage={"samples": 700, "utilization": 0.0}).usage == Usage(
        utilization=0.0, samples=700, evaluation_seconds=3
    )


def test_a_process_that_is_loading_again_takes_nothing_back():
    before = report(progressPercentage=40, estimatedRemainingSeconds=60, metrics=metrics(current_step=400))
    loading = report(before, activity="loading", progressPercentage=0)
    assert (loading.percent, loading.eta_seconds, loading.step) == (40, 60, 400)
    assert report(activity="loading", progressPercentage=0).percent == 0


def test_samples_and_tokens_are_progress():
    told = report(usage={"samples": 640, "tokens": 9000})
    status, _ = merge(TrainingJobStatus(), told, 5.0, every=5, final=False)
    assert (status.progress.samples, status.progress.tokens) == (640, 9000)


def test_what_is_reported_within_the_second_of_the_last_update_counts_at_the_end():
    first = to_report(Payload.model_validate({"trainerStatus": {"metrics": metrics(current_step=7)}}), None, 5.1)
    status, _ = merge(TrainingJobStatus(), first, 5.1, every=5, final=False)
    saved = Payload.model_validate({"trainerStatus": {"checkpoint": {"step": 7}}})
    last = to_report(saved, first, 5.9)
    assert merge(status, last, 6.0, every=5, final=False)[0].checkpoint is None
    status, _ = merge(status, last, 6.0, every=5, final=True)
    assert status.checkpoint.last_step == 7
    assert merge(status, first, 6.0, every=5, final=True)[0] == status, "a save is not taken back"


def test_how_long_checkpoints_take_is_told_to_a_hundredth():
    told = report(checkpoint={"step": 5, "saveSeconds": 1.23456, "restoreSeconds": 2}).checkpoint
    assert (told.save_seconds, told.restore_seconds) == ("1.23", "2.00")


@pytest.mark.parametrize("step", ["nan", "inf", "many", ""])
def test_a_step_that_is_no_number_is_no_step(step):
    assert report(metrics=metrics(current_step=step)).step is None


def test_log_lines_give_steps_rate_and_any_metric():
    lines = Progress(re2.compile(r"step=(?P<step>\d+)/(?P<total>\d+) loss=(?P<loss>[\d.]+)"))
    assert lines.read("2026-11-23T10:00:00.000000000Z something else") is None
    first = lines.read("2026-11-23T10:00:00.000000000Z step=10/100 loss=0.9")
    later = lines.read("2026-11-23T10:00:20.000000000Z step=30/100 loss=0.5")
    assert (first.step, first.eta_seconds) == (10, None)
    assert (later.step, later.total_steps, later.eta_seconds) == (30, 100, 70)
    assert [(m.name, m.value) for m in later.metrics] == [("loss", "0.5")]


def test_a_restarted_programs_rate_starts_anew():
    lines = Progress(re2.compile(r"(?P<step>\d+)/(?P<total>\d+)"))
    lines.read("2026-11-23T10:00:00Z 90/100")
    assert lines.read("2026-11-23T11:00:00Z 1/100").eta_seconds is None
    assert lines.read("2026-11-23T11:00:01Z 2/100").eta_seconds == 98


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (90, "1m30s"), (3600, "1h"), (11100, "3h5m"), (187200, "2d4h")],
)
def test_durations_read_as_kubectls(seconds, text):
    assert duration(seconds) == text

"""What a process says of its devices and of how far it is: by table and by hand, and of real runs."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline.server.payload import Payload, to_report
from paceline_trainer import recipes
from paceline_trainer.data import TokensBefore, by_length, epoch_order, position
from paceline_trainer.loop import batches
from paceline_trainer.recipes import ImageClassification, TopicClassification
from paceline_trainer.task import Arrays
from paceline_trainer.usage import Counts, Usage, mfu
from paceline_trainer.watching.devices import allowed, cores, memory_bytes, peak_flops, peak_of
from paceline_trainer.watching.step_time import FIRST, IN_A_ROW, StepTime, StepTimes
from tests.trainer.conftest import run_recipe, written_by

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("NVIDIA A10G", None),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 SXM5", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", None),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H20", None),
        ("NVIDIA B200", 2.25e15),
        ("NVIDIA GB200", None),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("AMD Instinct MI300X", 1300e12),
        ("NVIDIA GeForce RTX 4090", None),
        ("", None),
    ],
)
def test_the_peak_follows_from_the_devices_name(name, peak):
    assert peak_flops(name) == peak


def test_a_cpu_has_no_peak():
    assert peak_of(CPU) is None


@pytest.mark.parametrize(
    ("by_affinity", "quota", "found"),
    [
        (8, "", 8),
        (8, "max 100000", 8),
        (8, "250000 100000", 2.5),
        (2, "800000 100000", 2),
        (8, "-1 100000", 8),
        (8, " ", 8),
        (8, "100000 0", 8),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_the_quota(by_affinity, quota, found):
    assert allowed(by_affinity, quota) == found


def test_this_machine_has_cores_and_this_process_memory():
    assert 0 < cores() <= 4096
    before = memory_bytes(CPU)
    kept = torch.ones(25_000_000)
    assert memory_bytes(CPU) - before > 50e6
    assert len(kept)


class Time:
    def __init__(self):
        self.now = self.computed = 0.0

    def usage(self, device=CPU, **environ):
        return Usage(device, environ, clock=lambda: self.now, cpu=lambda: self.computed)


def test_a_processs_utilization_is_that_of_the_last_minute_and_of_its_share_of_the_cores():
    time = Time()
    usage = time.usage(LOCAL_WORLD_SIZE="2")
    assert "utilization" not in usage.figures(), "nothing has happened yet"
    time.now, time.computed = 10, 10 * cores() / 2
    assert usage.figures()["utilization"] == 1
    time.now = 20
    assert usage.figures()["utilization"] == 0.5
    for time.now in range(22, 90, 2):
        found = usage.figures()["utilization"]
    assert found == 0, "it has long done nothing"
    assert usage.figures()["of"] == "CPU time of rank 0's cores"
    time.now, time.computed = 100, 1e6
    assert usage.figures()["utilization"] == 1, "never more"


def test_on_a_gpu_it_is_the_computation_share_of_the_profiled_steps():
    time = Time()
    usage = time.usage(torch.device("cuda", 0))
    assert "utilization" not in usage.figures()
    usage.times = StepTimes(enabled=True)
    assert "utilization" not in usage.figures(), "no step was looked at yet"


def share_on_a_gpu(monkeypatch, flops, steps):
    """Of ten seconds on a device with a peak of 10 TFLOPs a second."""
    monkeypatch.setattr("paceline_trainer.usage.peak_of", lambda device: 10e12)
    time = Time()
    usage = time.usage(torch.device("cuda", 0))
    usage.times = StepTimes(enabled=True)
    usage.times.mean, usage.times.flops = StepTime(0.1, 0.6, 0.1, 0.2), flops
    made = 0
    usage.follow(lambda: Counts(made, made))
    time.now, made = 10.0, steps
    return usage.figures()


def test_model_flops_utilization_is_of_the_steps_that_were_made(monkeypatch):
    found = share_on_a_gpu(monkeypatch, 10**12, 25)
    assert (found["utilization"], found["of"], found["mfu"]) == (0.6, "computation share of a step", 0.25)
    assert "mfu" not in share_on_a_gpu(monkeypatch, None, 25)
    assert "mfu" not in share_on_a_gpu(monkeypatch, 10**12, 0)


@pytest.mark.parametrize(
    ("flops", "steps", "seconds", "peak", "found"),
    [
        (10**12, 50, 10.0, 10e12, 0.5),
        (10**12, 5000, 10.0, 10e12, 1.0),
        (None, 50, 10.0, 10e12, None),
        (10**12, 50, 10.0, None, None),
        (10**12, 0, 10.0, 10e12, None),
        (10**12, 1, 0.1, 10e12, None),
    ],
)
def test_mfu(flops, steps, seconds, peak, found):
    assert mfu(flops, steps, seconds, peak) == found


def test_the_flops_of_one_step_are_counted_where_that_is_asked_for():
    a, b = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7, requires_grad=True)
    times = StepTimes(enabled=False, count_flops=True)
    for step in range(1, FIRST + IN_A_ROW + 1):
        assert times.flops is None, step
        with times.step():
            (a @ b).sum().backward()
    assert times.flops == 3 * 2 * 3 * 5 * 7, "forward, and by both of its factors backward"
    plain = StepTimes(enabled=True)
    for _ in range(FIRST + IN_A_ROW):
        with plain.step():
            (a @ b).sum().backward()
    assert plain.flops is None


def test_counting_changes_no_loss_and_the_parts_of_two_processes_are_the_whole(tmp_path):
    (tmp_path / "two").mkdir()
    alone, two = written_by("flops.py", 1, tmp_path), written_by("flops.py", 2, tmp_path / "two")
    whole = alone["ddp"]["flops"]
    assert whole > 1e6
    for name, found in (two | {f"{name}, alone": found for name, found in alone.items()}).items():
        assert found == {"same": True, "uncounted": None, "flops": whole}, name


def test_what_training_waits_for_is_summed_and_is_seen_while_it_lasts():
    time = Time()
    usage = time.usage()
    with usage.spending("evaluation"):
        time.now = 3
        assert usage.figures()["evaluationSeconds"] == 3
        with usage.spending("checkpoint"):
            time.now = 5
        time.now = 6
    time.now = 50
    usage.spend("checkpoint")
    time.now = 51.5
    usage.spend("checkpoint")
    assert (usage.figures()["evaluationSeconds"], usage.figures()["checkpointSeconds"]) == (4, 3.5)


def test_counts_go_on_over_resumes_and_folds_and_what_is_rolled_back_is_counted_once_here():
    usage = Usage(CPU)
    assert (usage.counts(), usage.here()) == (Counts(), Counts())
    at = Counts(100, 6400, 9000)
    usage.follow(lambda: at)
    at = Counts(110, 7040, 9900)
    assert (usage.counts(), usage.here()) == (at, Counts(10, 640, 900))
    at = Counts(105, 6720, 9450)
    assert (usage.counts(), usage.here()) == (at, Counts(10, 640, 900))
    at = Counts(120, 7680, 10800)
    assert usage.here() == Counts(20, 1280, 1800)
    second = Counts(tokens=0)
    usage.follow(lambda: second)
    second = Counts(3, 192, 270)
    assert usage.counts() == Counts(123, 7872, 11070)
    assert usage.here() == Counts(23, 1472, 2070)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 3), st.data())
def test_tokens_are_those_of_the_batches_that_were_trained_on(lengths, batch_size, epochs, data):
    tokens = torch.tensor(lengths)
    params = ImageClassification(epochs=epochs, batch_size=batch_size, seed=3)
    arrays = Arrays(torch.zeros(len(lengths), 1), tokens, tokens)
    seen = [tokens[batch].sum().item() for _, _, batch in batches(arrays, params, 0)]
    before = TokensBefore(tokens, lambda epoch: by_length(epoch_order(len(tokens), 3, epoch), tokens, batch_size))
    for _ in range(4):
        step = data.draw(st.integers(0, len(seen)))
        assert before(position(step, len(tokens), batch_size)) == sum(seen[:step])


@pytest.mark.parametrize(("params", "known"), [({}, True), ({"swap": 0.1}, False), ({"tuning": "frozen"}, False)])
def test_texts_have_tokens_where_the_same_ones_are_trained_on_each_time(params, known):
    task = recipes.load("topic-classification")(TopicClassification(max_tokens=16, **params))
    if params.get("tuning") == "frozen":
        data = Arrays(torch.zeros(4, 384), torch.zeros(4))
    else:
        ids = torch.tensor([[5, 6, 0], [7, 0, 0]])
        data = Arrays(ids, torch.zeros(2), (ids != 0).sum(1))
    found = task.tokens(data)
    assert (found.tolist() == [2, 1]) if known else (found is None)


def test_a_run_reports_what_it_used_and_goes_on_counting_after_a_resume(tmp_path, operator):
    environ, reports = operator
    env = {**environ, "PACELINE_CHECKPOINT_DIR": str(tmp_path / "kept"), "PACELINE_CHECKPOINT_EVERY_STEPS": "10"}
    train = partial(run_recipe, tmp_path / "out", "image-classification", processes=2, **env)
    found = []
    for epochs in (2, 3):
        train(params={"epochs": epochs, "batch_size": 100, "patience": 5})
        read = [to_report(Payload.model_validate({"trainerStatus": told}), None, now=time.time()) for told in reports]
        found.append(read[-1])
        sums = [one.usage.evaluation_seconds for one in read]
        assert sums == sorted(sums)
        reports.clear()
    first, second = (one.usage for one in found)
    assert second.samples == first.samples * 3 // 2 > 1000
    for used in (first, second):
        assert 0 < used.utilization <= 1
        assert used.of == "CPU time of rank 0's cores"
        assert used.evaluation_seconds > 0
        assert used.checkpoint_seconds > 0
        assert (used.mfu, used.tokens) == (None, None), "on a CPU, and of images"
    assert second.since > first.since
    assert float(found[0].checkpoint.save_seconds) >= 0
    assert found[0].checkpoint.restore_seconds is None
    assert float(found[1].checkpoint.restore_seconds) >= 0

"""TensorBoard, Weights & Biases and the profiler: what they wrote is read back with their own readers."""

from __future__ import annotations

import gzip
import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from paceline_trainer.watching.profiler import profiled
from paceline_trainer.watching.watchers import Watchers
from paceline_trainer.watching.weights_and_biases import configured
from tests.trainer.conftest import environment, run_recipe

PARAMS = {"lr": 0.1, "optimizer": "sgd"}


def opened(folder: Path, said: list[str], *, main: bool = True, resumed_step: int = 0) -> Watchers:
    return Watchers.of_run(folder, PARAMS, {}, main=main, resumed_step=resumed_step, run_id="uid", say=said.append)


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_tensorboard_has_scalars_by_step_and_the_parameters(tmp_path):
    said: list[str] = []
    watchers = opened(tmp_path, said)
    for step in range(1, 6):
        watchers.scalars(step, "train", {"loss": 1 / step, "gradient_norm": math.nan if step == 3 else 1.0})
    watchers.scalars(5, "eval", {"accuracy": 0.75})
    watchers.close()
    found = read(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [
        (step, pytest.approx(1 / step)) for step in range(1, 6)
    ]
    assert math.isnan(found.Scalars("train/gradient_norm")[2].value)
    assert [(event.step, event.value) for event in found.Scalars("eval/accuracy")] == [(5, 0.75)]
    (text,) = found.Tensors("params/text_summary")
    assert json.loads(text.tensor_proto.string_val[0].decode().strip("`").removeprefix("json")) == PARAMS
    assert said == []


def test_a_resumed_run_replaces_the_steps_after_its_checkpoint(tmp_path):
    first = opened(tmp_path, [])
    for step in range(1, 8):
        first.scalars(step, "train", {"loss": 100.0 + step})
    first.close()
    second = opened(tmp_path, [], resumed_step=4)
    for step in range(5, 10):
        second.scalars(step, "train", {"loss": float(step)})
    second.close()
    losses = [(event.step, event.value) for event in read(tmp_path).Scalars("train/loss")]
    assert losses == [(1, 101), (2, 102), (3, 103), (4, 104), *((step, step) for step in range(5, 10))]


def test_only_rank_0_writes(tmp_path):
    watchers = opened(tmp_path, [], main=False)
    watchers.scalars(1, "train", {"loss": 1.0})
    watchers.close()
    assert list(tmp_path.iterdir()) == []


class Broken:
    def __init__(self, at: str) -> None:
        if at == "make":
            raise OSError("no space left")
        self._at, self.calls = at, 0

    def scalars(self, step: int, values: object) -> None:
        self.calls += 1
        if self._at == "scalars":
            raise OSError("no space left")

    def close(self) -> None:
        if self._at == "close":
            raise OSError("no space left")


@pytest.mark.parametrize("at", ["make", "scalars", "close"])
def test_one_that_fails_is_said_once_and_the_others_go_on(tmp_path, at):
    said: list[str] = []
    watchers = opened(tmp_path, said)
    watchers.add("Broken", lambda: Broken(at))
    for step in (1, 2):
        watchers.scalars(step, "train", {"loss": 1.0})
    watchers.close()
    assert said == ["Broken failed, the run goes on without it: OSError: no space left"]
    assert len(read(tmp_path).Scalars("train/loss")) == 2


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"WANDB_MODE": "offline"}, True),
        ({"WANDB_API_KEY": "x"}, True),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "disabled"}, False),
        ({"WANDB_MODE": "online"}, False),
    ],
)
def test_weights_and_biases_is_configured_by_its_own_variables(environ, expected):
    assert configured(environ) is expected


# Two attempts of one job, offline, the second after a resume from step 2.
OFFLINE = """
import os, sys, time
from pathlib import Path
from paceline_trainer.watching.weights_and_biases import WeightsAndBiases
for steps in ((1, 2, 3), (3, 4)):
    run = WeightsAndBiases(Path(sys.argv[1]), {"lr": 0.1}, run_id="job-uid-1", environ=os.environ)
    for step in steps:
        run.scalars(step, {"train/loss": 1 / step})
    run.close()
    time.sleep(1.1)  # wandb names a run's folder by the second
"""


def records(path: Path) -> Iterator[bytes]:
    """Of a .wandb file: LevelDB's log format behind a header of 7 bytes, which counts as a part of the first block."""
    content, at, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if at % 32768 > 32768 - 7:  # too little room for a record's head: the rest of the block is zeros
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)  # after the checksum
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_weights_and_biases_offline_keeps_one_run_over_resumes(tmp_path):
    from wandb.proto.wandb_internal_pb2 import Record

    env = environment(WANDB_MODE="offline", HOME=str(tmp_path), WANDB_ERROR_REPORTING="false")
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    attempts = []
    for path in sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        rows, ids = [], []
        for data in records(path):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                ids.append((record.run.run_id, record.run.project, config["lr"]))
            if record.WhichOneof("record_type") == "history":
                items = [(item.key or "/".join(item.nested_key), item.value_json) for item in record.history.item]
                row = {key: json.loads(value) for key, value in items}
                rows.append((row["step"], row["train/loss"]))
        attempts.append((ids[0], rows))
    run = ("job-uid-1", "paceline", 0.1)
    assert attempts == [(run, [(1, 1), (2, 1 / 2), (3, 1 / 3)]), (run, [(3, 1 / 3), (4, 1 / 4)])]


@pytest.mark.parametrize(("steps", "recorded"), [(10, 2), (4, 1), (2, None)])
def test_the_trace_has_the_operators_of_the_active_steps_alone(tmp_path, steps, recorded):
    with profiled(tmp_path, 1, wait=2, warmup=1, active=2) as step_done:
        for _ in range(steps):
            torch.ones(3, 3) @ torch.ones(3, 3)
            step_done()
    path = tmp_path / "trace-rank-1.json.gz"
    if recorded is None:
        assert not path.exists()
        return
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    assert sum(event["name"] == "aten::matmul" for event in events) == recorded


def test_a_run_is_watched_over_its_interruptions(tmp_path):
    """Two attempts, of two processes each: one curve, and one Weights & Biases run in offline mode each."""
    env = {
        "PACELINE_CHECKPOINT_DIR": str(tmp_path / "kept"),
        "PACELINE_CHECKPOINT_EVERY_STEPS": "10",
        "PACELINE_JOB_UID": "a-uid",
        "WANDB_MODE": "offline",
    }
    out = tmp_path / "output"
    for epochs in (1, 2):
        run_recipe(out, "image-classification", {"epochs": epochs, "batch_size": 100, "clip_norm": 1.0}, 2, **env)
    seen = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    seen.Reload()
    evaluated = json.loads((out / "report.json").read_text(encoding="utf-8"))["evaluation"]
    assert {"accuracy", "f1", "roc_auc", "loss"} <= set(evaluated)
    names = {"loss", "samples_per_second", "learning_rate", "grad_norm"}
    shares = {f"time/{what}_share" for what in ("data", "computation", "communication")}
    curves = {f"train/{name}" for name in names} | shares | {f"eval/{name}" for name in evaluated}
    assert set(seen.Tags()["scalars"]) == curves
    steps = [event.step for event in seen.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    assert {1, 15, 30} <= set(steps)
    assert [event.step for event in seen.Scalars("eval/accuracy")] == [15, 30]
    assert len(list((out / "wandb").glob("offline-run-*-a-uid"))) == 2

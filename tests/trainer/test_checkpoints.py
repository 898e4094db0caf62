"""Checkpoints of one process: what is kept, what is skipped, what fails; in a directory and in a real S3 server."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim.lr_scheduler import StepLR

from paceline_trainer.checkpoint import FencedError, Saver, Settings, State
from paceline_trainer.checkpoint.manifest import DamagedError, Manifest
from paceline_trainer.checkpoint.storage import Storage
from paceline_trainer.data import Position, position
from paceline_trainer.distributed import World
from tests.trainer import s3

ALONE = World(0, 1, torch.device("cpu"), "gloo")
IDENTITY = {"recipe": "test", "width": 3}


class Place:
    """Where checkpoints go, and the files that they are there."""

    def __init__(self, directory: str, files: Path) -> None:
        self.directory, self.files = directory, files

    def saver(self, attempt: int = 1, keep: int = 3, **identity: object) -> Saver:
        return Saver(Settings(self.directory, keep=keep, attempt=attempt), ALONE, {**IDENTITY, **identity})

    def names(self) -> list[str]:
        """Complete checkpoints, as anybody sees them."""
        return sorted(path.parent.name for path in self.files.glob("step-*/manifest.json"))

    def read(self, name: str) -> bytes:
        return (self.files / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """As somebody else would: through the server where there is one."""
        storage = Storage(self.directory)
        storage.fs.pipe_file(f"{storage._root}/{name}", content)


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3") / "buckets"
    with s3.server(folder) as environ, pytest.MonkeyPatch.context() as patched:
        for name, value in environ.items():
            patched.setenv(name, value)
        yield folder / "checkpoints"


@pytest.fixture(params=["directory", "s3"])
def place(request, tmp_path):
    if request.param == "directory":
        return Place(str(tmp_path / "job"), tmp_path / "job")
    files = request.getfixturevalue("bucket") / tmp_path.name
    return Place(f"s3://checkpoints/{tmp_path.name}", files)


def state(seed: int = 0) -> State:
    """A model with a history: one step was made, so that the optimizer has moments."""
    torch.manual_seed(seed)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    made = State(model, optimizer, StepLR(optimizer, step_size=2), GradScaler("cpu", init_scale=4.0, growth_interval=1))
    train(made)
    return made


def train(made: State) -> float:
    loss = made.model(torch.randn(8, 4)).square().mean()
    made.optimizer.zero_grad()
    loss.backward()
    made.optimizer.step()
    made.scheduler.step()
    made.losses.append(loss.item())
    return made.losses[-1]


def save(saver: Saver, step: int, made: State | None = None, score: float | None = None) -> None:
    """The state's losses are as many as the step says."""
    made = made or state(step)
    made.losses[:] = [0.5] * step
    saver.save(made, position(step, 100, 10), score, wait=True)


def test_everything_that_shapes_the_next_step_comes_back(place):
    made = state()
    made.scaler.scale(torch.ones(1))
    made.scaler.update(9.0)
    place.saver().save(made, Position(1, 0, 1, 10), wait=True)
    further = [random.random(), float(np.random.rand()), *(train(made) for _ in range(5))]

    other = state(seed=5)
    found = place.saver().resume(other)
    assert found is not None
    assert found.position == Position(1, 0, 1, 10)
    assert other.scaler.get_scale() == 9.0
    assert len(other.losses) == 1
    assert [random.random(), float(np.random.rand()), *(train(other) for _ in range(5))] == further


def test_nothing_is_there_at_first(place):
    assert place.saver().resume(state()) is None


def test_training_goes_on_while_files_are_written(place):
    saver, made = place.saver(), state()
    before = made.model.weight.detach().clone()
    saver.save(made, Position(1, 0, 1, 10))
    train(made)
    saver.finish()
    other = state(seed=5)
    place.saver().resume(other)
    torch.testing.assert_close(other.model.weight.detach(), before)


def test_the_last_and_the_best_are_kept(place):
    saver = place.saver(keep=2)
    for step, score in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5), (50, 1.5)):
        save(saver, step, score=score)
        assert saver.saved_step == step
    assert place.names() == ["step-00000020", "step-00000040", "step-00000050"]
    assert sorted(path.name for path in place.files.glob("step-*")) == place.names(), "nothing is left of the others"


def truncate(place):
    place.write("step-00000030/__0_0.distcp", place.read("step-00000030/__0_0.distcp")[:-1])


def change(place):
    content = bytearray(place.read("step-00000030/__0_0.distcp"))
    content[len(content) // 2] ^= 1
    place.write("step-00000030/__0_0.distcp", bytes(content))


def lose_a_file(place):
    (place.files / "step-00000030" / ".metadata").unlink()


def tear(place):
    (place.files / "step-00000030" / "manifest.json").unlink()


def tear_the_manifest(place):
    place.write("step-00000030/manifest.json", place.read("step-00000030/manifest.json")[:-20])


def change_the_manifest(place):
    body = json.loads(place.read("step-00000030/manifest.json"))
    body["position"]["epoch"] += 1
    place.write("step-00000030/manifest.json", json.dumps(body).encode())


def copy_under_another_name(place):
    for name in ("__0_0.distcp", ".metadata", "manifest.json"):
        place.write(f"step-00000030/{name}", place.read(f"step-00000020/{name}"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "bytes instead of"),
        (change, "does not have the content"),
        (lose_a_file, ".metadata is missing"),
        (tear, "never completed"),
        (tear_the_manifest, "cannot be read"),
        (change_the_manifest, "was changed"),
        (copy_under_another_name, "is that of step-00000020"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_and_the_one_before_it_used(place, capsys, damage, words):
    saver = place.saver()
    for step in (10, 20, 30):
        save(saver, step)
    damage(place)
    saver, resumed = place.saver(), state()
    found = saver.resume(resumed)
    assert found is not None
    assert found.position.step == 20
    said = capsys.readouterr().out
    assert "step-00000030 is skipped" in said
    assert words in said
    save(saver, 30, resumed)
    assert place.names() == ["step-00000010", "step-00000020", "step-00000030"], "the damaged one has been replaced"
    found = place.saver().resume(state())
    assert found is not None
    assert found.position.step == 30


def test_an_object_that_rots_in_the_store_is_skipped(bucket, capsys):
    place = Place("s3://checkpoints/rotten", bucket / "rotten")
    saver = place.saver()
    save(saver, 10)
    save(saver, 20)
    path = place.files / "step-00000020" / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # the server does not know
    found = place.saver().resume(state())
    assert found is not None
    assert found.position.step == 10
    assert "does not have the content" in capsys.readouterr().out


def test_another_training_is_neither_resumed_nor_removed(place, capsys):
    save(place.saver(width=7), 30)
    save(place.saver(), 20)
    saver = place.saver(keep=1)
    found = saver.resume(state())
    assert found is not None
    assert found.position.step == 20
    assert "step-00000030 is skipped: it is of another training: width was 7 and is 3" in capsys.readouterr().out
    save(saver, 25)
    assert place.names() == ["step-00000025", "step-00000030"]


def test_a_writer_of_an_older_attempt_writes_and_deletes_nothing(place):
    old = place.saver(attempt=1, keep=1)
    save(old, 10)
    new = place.saver(attempt=2)
    new.resume(state())
    save(new, 20)
    with pytest.raises(FencedError, match="attempt 2 of this job"):
        save(old, 30)
    with pytest.raises(FencedError):
        place.saver(attempt=1).resume(state())
    assert place.names() == ["step-00000010", "step-00000020"]


def test_a_writer_that_is_fenced_while_it_writes_does_not_publish(place, monkeypatch):
    old, made = place.saver(attempt=1), state()
    publish = old._publish

    def overtaken(manifest: Manifest, files: dict) -> None:
        place.saver(attempt=2).resume(state())
        publish(manifest, files)

    monkeypatch.setattr(old, "_publish", overtaken)
    with pytest.raises(FencedError):
        save(old, 10, made)
    assert place.names() == []


def test_what_an_end_in_the_middle_left_is_cleared_away(tmp_path):
    place = Place(str(tmp_path), tmp_path)
    save(place.saver(), 10)
    half = tmp_path / ".step-00000020.partial"
    half.mkdir()
    (half / "__0_0.distcp").write_bytes(b"half")
    assert place.saver().resume(state()) is not None
    assert not half.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 KiB; the tests' user is root where it can be had."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("mounts a small file system: needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_fails_the_save_and_never_the_run(small_disk, capsys):
    place = Place(str(small_disk / "job"), small_disk / "job")
    saver = place.saver()
    save(saver, 10)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"0" * 4096)
    save(saver, 20)
    assert saver.saved_step == 10
    assert "No space left on device" in (saver.error or "")
    assert "checkpoint of step 20 FAILED" in capsys.readouterr().out
    assert [path.name for path in place.files.glob("**/*.distcp")] == ["__0_0.distcp"], "no partial files are left"

    fresh = place.saver(attempt=2)  # started anew while the disk is still full: it resumes all the same
    found = fresh.resume(state())
    assert found is not None
    assert found.position.step == 10
    filler.unlink()
    save(fresh, 20)
    assert fresh.error is None
    assert place.names() == ["step-00000010", "step-00000020"]


def test_a_store_that_does_not_answer_is_no_reason_to_start_from_nothing(bucket, monkeypatch, capsys):
    place = Place("s3://checkpoints/gone", bucket / "gone")
    saver = place.saver()
    save(saver, 10)
    shutil.move(bucket, bucket.parent / "elsewhere")
    try:
        with pytest.raises(Exception, match="bucket does not exist"):
            place.saver().resume(state())
        save(saver, 20)  # nor for the run to end
        assert saver.error is not None
        assert "FAILED" in capsys.readouterr().out
    finally:
        shutil.move(bucket.parent / "elsewhere", bucket)
    save(saver, 30)
    assert saver.error is None
    assert place.names() == ["step-00000010", "step-00000030"]


def test_a_file_that_cannot_be_read_is_skipped_and_kept(tmp_path, monkeypatch):
    place = Place(str(tmp_path), tmp_path)
    saver = place.saver()
    save(saver, 10)
    save(saver, 20)
    saver = place.saver()
    broken = saver.storage.fs.open

    def sector(path: str, *arguments: object, **more: object) -> object:
        if "step-00000020/__0_0" in path:
            raise OSError(5, "Input/output error")
        return broken(path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(saver.storage.fs, "open", sector)
        found = saver.resume(state())
    assert found is not None
    assert found.position.step == 10
    save(saver, 30)
    assert "step-00000020" in place.names(), "it may be read again another time"


@pytest.mark.parametrize(
    ("every", "due"),
    [({"every_steps": 10}, [10, 20, 30]), ({"every_seconds": 3600}, []), ({}, [])],
)
def test_when_a_save_is_due(tmp_path, every, due):
    saver = Saver(Settings(str(tmp_path), **every), ALONE, IDENTITY)
    found = []
    for step in range(1, 35):
        if saver.due(step):
            found.append(step)
            save(saver, step)
    assert found == due


def test_seconds_are_counted_from_the_last_save(tmp_path):
    saver = Saver(Settings(str(tmp_path), every_seconds=0.001), ALONE, IDENTITY)
    made = state()
    while not saver.due(1):
        pass
    save(saver, 1, made)
    assert saver.saved_step == 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"PACELINE_CHECKPOINT_DIR": "/c"}, Settings("/c")),
        (
            {
                "PACELINE_CHECKPOINT_DIR": "s3://b/p",
                "PACELINE_CHECKPOINT_EVERY_STEPS": "7",
                "PACELINE_CHECKPOINT_KEEP": "2",
                "PACELINE_ATTEMPT": "4",
            },
            Settings("s3://b/p", every_steps=7, keep=2, attempt=4),
        ),
    ],
)
def test_the_environment(environ, expected):
    assert Settings.from_environ(environ) == expected


@pytest.mark.parametrize("text", ["0", "-1", "ten", "1.5"])
def test_an_interval_that_makes_no_sense_is_named(text):
    environ = {"PACELINE_CHECKPOINT_DIR": "/c", "PACELINE_CHECKPOINT_EVERY_SECONDS": text}
    with pytest.raises(ValueError, match="PACELINE_CHECKPOINT_EVERY_SECONDS"):
        Settings.from_environ(environ)


def test_a_manifest_comes_back_as_it_was(tmp_path):
    saver = Place(str(tmp_path), tmp_path).saver()
    save(saver, 10, score=0.25)
    assert saver.last is not None
    assert Storage(str(tmp_path)).manifest("step-00000010") == saver.last
    assert Manifest.from_json(saver.last.to_json()) == saver.last
    with pytest.raises(DamagedError):
        Manifest.from_json(b"{}")

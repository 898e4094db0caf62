"""What a run leaves behind, where something goes wrong while it is written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from paceline_trainer import artifact
from tests.trainer.conftest import environment

FACTS = {"recipe": "r", "dataset": "d", "world_size": 1, "seconds": 1.0, "params": {}}
REPORT = {"evaluation": {"loss": 0.5}, "samples": 1, "loss_by_epoch": [0.5]}


def model(value: float) -> dict[str, torch.Tensor]:
    """The weights of a linear layer."""
    return {"weight": torch.full((1, 2), value), "bias": torch.zeros(1)}


def whole(folder: Path) -> bool:
    """Does the manifest speak of the weights that lie there?"""
    manifest = json.loads((folder / artifact.MANIFEST).read_text(encoding="utf-8"))
    return bool(manifest["sha256"] == hashlib.sha256((folder / artifact.WEIGHTS).read_bytes()).hexdigest())


def test_a_later_result_replaces_an_earlier_one(tmp_path):
    first = artifact.save(tmp_path / "out", model(1), FACTS, REPORT)
    second = artifact.save(tmp_path / "out", model(2), FACTS, REPORT)
    assert first["sha256"] != second["sha256"]
    assert (tmp_path / "out" / artifact.WEIGHTS).stat().st_mode & 0o444 == 0o444, (
        "another pod's user can read the model"
    )
    assert whole(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_failed_write_leaves_the_earlier_result_whole(tmp_path, monkeypatch):
    artifact.save(tmp_path, model(1), FACTS, REPORT)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "markdown", full)
    with pytest.raises(OSError, match="No space left"):
        artifact.save(tmp_path, model(2), FACTS, REPORT)
    assert whole(tmp_path)


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_an_end_between_two_renames_leaves_no_manifest_and_can_be_repeated(tmp_path, monkeypatch, renames):
    artifact.save(tmp_path, model(1), FACTS, REPORT)
    done: list[Path] = []

    def interrupted(self, target):
        if len(done) == renames:
            raise InterruptedError
        done.append(target)
        os.replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(InterruptedError):
            artifact.save(tmp_path, model(2), FACTS, REPORT)
    assert not (tmp_path / artifact.MANIFEST).exists()
    artifact.save(tmp_path, model(3), FACTS, REPORT)
    assert whole(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user: needs root")
def test_the_folder_may_be_a_volume_whose_parent_is_read_only():
    """As in a pod: PACELINE_OUTPUT_DIR is the mount point itself, and user 1000 may not write beside it."""
    program = (
        # numpy.ctypeslib too, which safetensors imports late: the checkout may be closed to the other user.
        "import os, sys, numpy.ctypeslib, torch\n"
        "from pathlib import Path\n"
        "from paceline_trainer import artifact\n"
        f"facts, report = {FACTS!r}, {REPORT!r}\n"
        "os.chdir(sys.argv[1])\n"
        "os.mkdir('models'); os.chown('models', 1000, 1000)\n"
        "os.setgid(1000); os.setuid(1000)\n"
        "artifact.save(Path('models'), torch.nn.Linear(1, 1).state_dict(), facts, report)\n"
    )
    with tempfile.TemporaryDirectory() as parent:  # pytest's own are closed to other users
        Path(parent).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", program, parent], capture_output=True, text=True, check=False, env=environment()
        )
        assert done.returncode == 0, done.stderr
        assert whole(Path(parent) / "models")


def test_weights_are_plain_safetensors(tmp_path):
    from safetensors.torch import load_file

    artifact.save(tmp_path, model(3), FACTS, REPORT)
    loaded = load_file(tmp_path / artifact.WEIGHTS)
    torch.testing.assert_close(loaded, model(3))

"""A training loop of one's own: examples/scripts/own_loop.py as it stands, by torchrun, interrupted and gone on with."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.fsspec_filesystem import FsspecReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.utils.data import TensorDataset

import paceline_trainer
from paceline_trainer.datafiles.batches import Batches
from paceline_trainer.distributed import World
from paceline_trainer.pieces import Checkpoints, Progress
from tests.trainer.conftest import ROOT, environment, launcher

SCRIPT = ROOT / "examples/scripts/own_loop.py"
PER_EPOCH = 24
EPOCHS = 20
TOTAL = EPOCHS * PER_EPOCH
LIMIT = 180.0  # ends a hang
ALONE = World(0, 1, torch.device("cpu"), "gloo")


def run(processes: int, folder: Path, stop_at: int | None = None, **env: str) -> tuple[int, str]:
    """The script's exit code and output; with SIGTERM to the launcher at this step, as the kubelet does it."""
    own = {"PACELINE_CHECKPOINT_DIR": str(folder), "PACELINE_CHECKPOINT_EVERY_STEPS": "100", "EPOCHS": str(EPOCHS)}
    command = [*launcher(processes), str(SCRIPT)]
    lines = []
    with subprocess.Popen(
        command, env=environment(**{**own, **env}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        ends_a_hang = threading.Timer(LIMIT, process.kill)
        ends_a_hang.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if stop_at is not None and line.startswith(f"step={stop_at}/"):
                process.terminate()
        code = process.wait()
        ends_a_hang.cancel()
    return code, "".join(lines)


def losses(folder: Path, step: int = TOTAL) -> list[float]:
    tree = {"losses": torch.empty(step, dtype=torch.float64)}
    load(tree, storage_reader=FsspecReader(str(folder / f"step-{step:08d}")), no_dist=True)
    return tree["losses"].tolist()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The losses of two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    code, said = run(2, folder)
    assert code == 0, said
    return losses(folder)


def metrics(report: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: float(metric["value"]) for metric in report["metrics"]}


@pytest.mark.parametrize("processes", [1, 2])
def test_interrupted_it_goes_on_from_the_saved_step_with_any_number_of_processes(
    tmp_path, operator, undisturbed, processes
):
    environ, reports = operator
    folder = tmp_path / "job"
    code, said = run(2, folder, stop_at=60, **environ)
    assert code != 0
    saved = int(re.search(r"terminated by SIGTERM: step (\d+) is saved", said)[1])
    assert 60 <= saved < TOTAL
    assert losses(folder, saved) == undisturbed[:saved]
    assert (reports[-1]["activity"], reports[-1]["checkpoint"]["step"]) == ("checkpointing", saved)
    assert metrics(reports[-1])["current_step"] == saved
    assert reports[-1]["progressPercentage"] == int(100 * saved / TOTAL)

    code, said = run(processes, folder, **environ)
    assert code == 0, said
    assert f"resumed from step {saved}\n" in said
    assert f"step={saved - saved % 10}/" not in said
    if processes == 2:
        assert losses(folder) == undisturbed, "bit by bit"
    torch.testing.assert_close(losses(folder), undisturbed, rtol=0, atol=1e-5)  # float32: 9e-8 seen
    last = reports[-1]
    assert last["progressPercentage"] == 100
    assert (last["checkpoint"]["step"], last["checkpoint"]["resumedFromStep"]) == (TOTAL, saved)
    assert metrics(last)["eval_accuracy"] > 0.85
    assert metrics(last)["loss"] == pytest.approx(losses(folder)[-1], rel=1e-5)


def test_the_example_is_short_and_needs_no_checkpoints(tmp_path):
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 60
    code, said = run(2, tmp_path, PACELINE_CHECKPOINT_DIR="", EPOCHS="2")
    assert code == 0, said
    assert f"step={2 * PER_EPOCH - 8}/{2 * PER_EPOCH} " in said
    assert "accuracy=" in said
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_no_torch_and_every_name_is_there():
    code = "import sys, paceline_trainer; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    for name in paceline_trainer.__all__:
        assert getattr(paceline_trainer, name).__name__ == name
    with pytest.raises(AttributeError, match="'paceline_trainer' has no attribute 'Nothing'"):
        _ = paceline_trainer.Nothing


def made(folder: Path, **identity: object) -> tuple[Batches, Checkpoints, Progress]:
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    batches = Batches(TensorDataset(torch.ones(10, 1)), ALONE, batch_size=4, epochs=2)
    environ = {"PACELINE_CHECKPOINT_DIR": str(folder), "PACELINE_CHECKPOINT_EVERY_STEPS": "2"}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    progress = Progress(ALONE, environ={})
    checkpoints = Checkpoints(ALONE, model, optimizer, batches, progress, identity=identity, environ=environ)
    return batches, checkpoints, progress


def test_a_step_that_is_left_out_is_told(tmp_path):
    batches, checkpoints, _ = made(tmp_path)
    next(iter(batches))
    checkpoints.step(0.5)
    with pytest.raises(RuntimeError, match="2 losses at step 1: call step"):
        checkpoints.step(0.5)


def test_another_training_is_not_gone_on_with(tmp_path, capsys):
    batches, checkpoints, _ = made(tmp_path, width=3)
    with checkpoints:
        for batch in batches:
            checkpoints.step(1 / batch.step)
    assert made(tmp_path, width=3)[1].resumed == 6
    assert made(tmp_path, width=4)[1].resumed == 0
    assert "width was 3 and is 4" in capsys.readouterr().out


def test_time_is_evaluations_from_when_it_is_said_to_the_next_step_and_checkpoints_while_one_is_saved(tmp_path):
    batches, checkpoints, progress = made(tmp_path)
    spent = progress.usage.figures
    with checkpoints:
        for batch in batches:
            progress.step(batch, 0.5)
            if batch.step == 1:
                assert (spent()["evaluationSeconds"], spent()["checkpointSeconds"]) == (0, 0)
                progress.say("evaluating")
                while not spent()["evaluationSeconds"]:
                    pass  # until the clock has moved
            if batch.step == 2:
                evaluated = spent()["evaluationSeconds"]
            checkpoints.step(0.5)
    assert spent()["checkpointSeconds"] > 0
    assert spent()["evaluationSeconds"] == evaluated > 0

"""Programs in the style of PyTorch's own examples, which know nothing of Paceline, survive as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.training import CLAIM, Training
from tests.e2e.conftest import logs
from tests.kube import kubectl, wait, wait_phase
from tests.reading import RefusedError

pytestmark = pytest.mark.short
SCRIPTS = Path(__file__).parent / "scripts"
IMAGE = "localhost/paceline-trainer:0.1.0"


def script(training, namespace: str, name: str, command: list[str]) -> Training:
    """A job of a script as it stands, in a folder of the volume."""
    config = name.replace("_", "-")
    kubectl("create", "configmap", config, f"--from-file={SCRIPTS / name}.py", "-n", namespace)
    template = {
        "spec": {
            "containers": [
                {
                    "name": "trainer",
                    "workingDir": "/data",
                    "volumeMounts": [{"name": "src", "mountPath": "/src"}, {"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [
                {"name": "src", "configMap": {"name": config}},
                {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}},
            ],
        }
    }
    run: Training = training(recipe=None, checkpoint=None, image=IMAGE, command=command, template=template)
    run.apply()
    return run


def test_a_snapshot_script_resumes_after_a_kill(training, namespace):
    run = script(training, namespace, "snapshot", ["torchrun", "/src/snapshot.py", "60", "5"])
    # An epoch's line comes before its snapshot: that of epoch 10 is written once its writer says that it has made the next.
    wait("epoch 10 is in the snapshot", lambda: "[rank 0] Epoch 11 " in log(run), 120)
    faults.kill_process(run)
    ended = wait_phase(run.name, namespace, "Succeeded", seconds=240)
    resumed = re.findall(r"Resuming training from snapshot at Epoch (\d+)", log(run))
    assert resumed
    assert int(resumed[-1]) >= 10
    assert (ended["attempt"], ended["restarts"]["job"]) == (1, 0)


def test_a_script_that_fails_once_ends_well(training, namespace):
    run = script(training, namespace, "restart_count", ["torchrun", "/src/restart_count.py"])
    ended = wait_phase(run.name, namespace, "Succeeded", seconds=240)
    assert "restart 1 step 4" in log(run)
    assert ended["attempt"] == 1, "torchrun restarted it in its pods"


def log(run: Training) -> str:
    """Of both workers, as far as they have begun."""
    text = ""
    for index in (0, 1):
        try:
            text += logs(run.pod(index), run.namespace)
        except (ValueError, RefusedError) as error:
            print(f"no log of worker {index}: {error}")  # no pod, or none that has begun
    return text

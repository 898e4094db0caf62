"""Attribution: injected faults on real kubelets, each named right. Others are in test_real_nodes.py and tests/chaos."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.kube import ROOT, apply, condition, kubectl, status, wait

IMAGE = "localhost/paceline-trainer:0.1.0"
TOGETHER = 4  # jobs at a time, for two cores


@dataclass(frozen=True)
class Fault:
    """What is injected into rank 1, and what must be said of it."""

    name: str
    cause: str
    words: str
    exit_code: int | None = 1
    rank: int | None = 1
    nodes: int = 1
    more: dict[str, Any] = field(default_factory=dict)
    reason: str = "MaxRestartsExceeded"


FAULTS = [
    Fault("raise", "CodeError", "ValueError: the learning rate must be positive", nodes=2),
    Fault("raise-unrecorded", "CodeError", "ValueError: the learning rate must be positive", nodes=2),
    Fault("import", "CodeError", "No module named 'no_such_module'"),
    Fault("nan", "CodeError", "loss is nan at step 3"),
    Fault("disk", "CodeError", "No space left on device", more={"hint": "disk is full"}),
    Fault("exit", "CodeError", "exit code 3", exit_code=3),
    Fault("segv", "CodeError", "SIGSEGV", exit_code=139),
    Fault("abort", "CodeError", "SIGABRT", exit_code=134),
    Fault("kill", "Unknown", "SIGKILL", exit_code=137, more={"hint": "OOM killer"}),
    Fault("device-memory", "OutOfMemory", "CUDA out of memory", more={"device": "GPU 1", "hint": "Device memory"}),
    Fault("host-memory", "OutOfMemory", "", exit_code=137, rank=None, more={"hint": "limits.memory"}),
    Fault("hang", "CollectiveTimeout", "", exit_code=None, rank=None, nodes=2),
    Fault("ecc", "DeviceError", "uncorrectable ECC", reason=""),
    Fault("no-command", "ConfigError", "no-such-program", exit_code=None, rank=None, reason="ConfigError"),
]


def job(fault: Fault, namespace: str) -> dict[str, Any]:
    command = ["no-such-program"] if fault.name == "no-command" else ["torchrun", "/src/faults.py", fault.name]
    spec = {
        "image": IMAGE,
        "command": command,
        "nodes": fault.nodes,
        "processesPerNode": 2 // fault.nodes,
        "restarts": {"inPlace": 0, "max": 0, "backoffSeconds": 60},
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "template": {
            "spec": {
                "containers": [{"name": "trainer", "volumeMounts": [{"name": "src", "mountPath": "/src"}]}],
                "volumes": [{"name": "src", "configMap": {"name": "faults"}}],
            }
        },
    }
    meta = {"name": fault.name, "namespace": namespace}
    return {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def namespace():
    kubectl("create", "namespace", "faults")
    kubectl("create", "configmap", "faults", f"--from-file={ROOT / 'tests/e2e/faults/faults.py'}", "-n", "faults")
    wait("its service account", lambda: "default" in kubectl("get", "serviceaccount", "-n", "faults", "-o", "name"))
    yield "faults"
    kubectl("delete", "namespace", "faults", "--wait=false")


@pytest.fixture(scope="module")
def found(namespace) -> dict[str, Any]:
    """The status of each job once it has failed."""
    statuses: dict[str, Any] = {}
    for first in range(0, len(FAULTS), TOGETHER):
        some = FAULTS[first : first + TOGETHER]
        apply(*(job(fault, namespace) for fault in some))
        for fault in some:
            statuses[fault.name] = wait(
                fault.name, lambda name=fault.name: (s := status(name, namespace)).get("lastFailure") and s, 300
            )
        kubectl("delete", "tj", *(fault.name for fault in some), "-n", namespace)
    return statuses


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_fault_is_named_right(found, fault):
    of = found[fault.name]
    failure = of["lastFailure"]
    said = json.dumps(failure, indent=1)
    assert failure["cause"] == fault.cause, said
    assert fault.words in failure["message"], said
    assert failure["pod"].startswith(f"{fault.name}-1-"), said
    assert failure["node"] in ("n1", "n2"), said
    if fault.rank is not None:
        assert failure.get("rank") == fault.rank, said
    if fault.exit_code is not None:
        assert failure.get("exitCode") == fault.exit_code, said
    assert fault.more.get("hint", "") in failure["hint"], said
    assert failure.get("device") == fault.more.get("device"), said
    if fault.words.startswith(("ValueError", "No module", "loss is nan")):
        assert "faults.py" in failure["traceback"], said
    if fault.reason:
        assert condition(of, "Failed")["reason"] == fault.reason, of
    else:
        assert of["restarts"]["infrastructure"] == 1, "not the user's fault"

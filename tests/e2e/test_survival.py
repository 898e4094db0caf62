"""Real training that is disturbed, and reaches its end all the same."""

from __future__ import annotations

import json

from tests.e2e.conftest import logs
from tests.kube import apply, get, kubectl, patch, pods, status, wait, wait_phase

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "ckpt"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}
SMALL = {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}}
# In the pod: the process with that rank, found by its environment.
KILL = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        env = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
    except OSError:
        continue
    if b"LOCAL_RANK=0" in env:
        os.kill(int(pid), signal.SIGKILL)
"""


def training(name: str, namespace: str, **spec):
    """A recipe of about a minute with frequent checkpoints."""
    base = {
        "recipe": {"name": "image-classification", "params": {"epochs": 60}},
        "nodes": 2,
        "processesPerNode": 1,
        "resources": SMALL,
        "checkpoint": {
            "volume": {"persistentVolumeClaim": {"claimName": "ckpt"}},
            "everySteps": 50,
            "gracePeriodSeconds": 30,
        },
    }
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": base | spec}


def start(name: str, namespace: str, **spec) -> None:
    """Applied, and trained as far as its second checkpoint."""
    claim = {**CLAIM, "metadata": {"name": "ckpt", "namespace": namespace}}
    apply(claim, training(name, namespace, **spec))
    wait("the second checkpoint", lambda: saved(name, namespace) >= 100, 150)


def saved(name: str, namespace: str) -> int:
    return int(status(name, namespace).get("checkpoint", {}).get("lastStep", 0))


def worker(name: str, namespace: str, index: int) -> str:
    """The newest pod of an index."""
    mine = [p for p in pods(name, namespace) if p["metadata"]["labels"]["paceline.dev/index"] == str(index)]
    newest = max(mine, key=lambda p: p["metadata"]["creationTimestamp"])
    return str(newest["metadata"]["name"])


def test_a_killed_process_is_restarted_in_its_pod(namespace):
    start("killed", namespace)
    pod = worker("killed", namespace, 1)
    kubectl("exec", pod, "-n", namespace, "-c", "trainer", "--", "python3", "-c", KILL)
    ended = wait_phase("killed", namespace, "Succeeded", seconds=240)
    assert ended["attempt"] == 1
    assert ended["restarts"]["inPlace"] >= 1, json.dumps(ended["restarts"])
    assert (ended["restarts"]["pod"], ended["restarts"]["job"]) == (0, 0)
    assert ended["checkpoint"]["resumedFromStep"] >= 100
    assert "resumed from step" in logs(pod, namespace) + logs(worker("killed", namespace, 0), namespace)


def test_a_deleted_worker_is_replaced_and_training_resumes(namespace):
    start("deleted", namespace)
    stays = get("pod", worker("deleted", namespace, 1), namespace)["metadata"]["uid"]
    kubectl("delete", "pod", worker("deleted", namespace, 0), "-n", namespace, "--grace-period=0", "--force")
    ended = wait_phase("deleted", namespace, "Succeeded", seconds=240)
    assert (ended["attempt"], ended["restarts"]["pod"], ended["restarts"]["infrastructure"]) == (1, 1, 1)
    assert ended["lastFailure"]["cause"] == "PodDeleted"
    assert ended["checkpoint"]["resumedFromStep"] >= 100
    assert get("pod", worker("deleted", namespace, 1), namespace)["metadata"]["uid"] == stays, "the other one stayed"


def test_a_lost_store_costs_a_generation(namespace):
    start("store", namespace)
    kubectl("delete", "pod", "store-rdzv", "-n", namespace, "--grace-period=0", "--force")
    ended = wait_phase("store", namespace, "Succeeded", seconds=240)
    assert (ended["attempt"], ended["lastFailure"]["cause"]) == (2, "RendezvousLost")
    assert ended["restarts"]["job"] == 0, "not the user's fault"
    assert ended["checkpoint"]["resumedFromStep"] >= 100


def test_suspended_it_loses_no_step(namespace):
    start("paused", namespace)
    patch("paused", namespace, suspend=True)
    found = wait_phase("paused", namespace, "Suspended", seconds=90)
    step = found["checkpoint"]["lastStep"]
    assert found["message"] == f"suspended; step {step} is saved"
    assert found["progress"]["step"] <= step, "all that was made is saved"
    patch("paused", namespace, suspend=False)
    ended = wait_phase("paused", namespace, "Succeeded", seconds=240)
    assert ended["checkpoint"]["resumedFromStep"] == step
    assert ended["restarts"]["total"] == 0


def test_an_elastic_gang_takes_a_newcomer_in(namespace):
    """torch 2.15 breaks here without TORCH_DISABLE_SHARE_RDZV_TCP_STORE: the newcomer would end the whole job."""
    start("elastic", namespace, nodes=1, elastic={"minNodes": 1, "maxNodes": 2})
    patch("elastic", namespace, nodes=2)
    wait("both run", lambda: status("elastic", namespace)["nodes"]["summary"] == "2/2", 90)
    ended = wait_phase("elastic", namespace, "Succeeded", seconds=300)
    assert (ended["attempt"], ended["restarts"]["total"]) == (1, 0), "nothing failed"
    assert "world=2" in logs(worker("elastic", namespace, 0), namespace) + logs(
        worker("elastic", namespace, 1), namespace
    )

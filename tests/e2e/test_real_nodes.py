"""What only real kubelets show: pulls that fail, operators that vanish, pods that leave things behind."""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import SYSTEM, configmap, leader, logs
from tests.kube import apply, condition, get, kubectl, leftovers, patch, pods, status, wait, wait_phase

IMAGE = "localhost/paceline-trainer:0.1.0"
SMALL = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}


def job(name, namespace, script="", **spec):
    """A real job; ``script`` is Python that torchrun runs from a ConfigMap-free one-liner file."""
    command = ["sh", "-c", f"cat > /tmp/x.py <<'EOF'\n{script}\nEOF\nexec torchrun /tmp/x.py"]
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"image": IMAGE, "command": command, "nodes": 2, "processesPerNode": 1, "resources": SMALL} | spec,
    }


SLOW = """
import time, torch.distributed as dist, torch
dist.init_process_group("gloo")
for step in range(600):
    dist.all_reduce(torch.ones(1)); print("step", step, flush=True); time.sleep(0.5)
"""


def test_an_image_that_does_not_exist(namespace):
    apply(job("no-image", namespace, image="localhost/no-such-image:1", deadlines={"startupSeconds": 15}))
    found = wait(
        "the condition",
        lambda: (
            condition(status("no-image", namespace), "Running").get("reason") == "ImageError"
            and status("no-image", namespace)
        ),
    )
    assert "localhost/no-such-image:1" in found["message"]
    found = wait_phase("no-image", namespace, "Failed", seconds=90)
    assert condition(found, "Failed")["reason"] == "StartupTimeout"
    assert "localhost/no-such-image:1" in found["message"]
    wait("its pods are ended", lambda: pods("no-image", namespace) == [], 90)


def test_an_invalid_image_name_fails_at_once(namespace):
    apply(job("bad-name", namespace, image="Not A Name"))
    found = wait_phase("bad-name", namespace, "Failed", seconds=60)
    assert condition(found, "Failed")["reason"] == "ImageError"


def test_a_volume_that_cannot_be_mounted_says_why(namespace):
    mounted = {"name": "trainer", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    secret = {"spec": {"containers": [mounted], "volumes": [{"name": "data", "secret": {"secretName": "nope"}}]}}
    apply(job("no-secret", namespace, template=secret, deadlines={"startupSeconds": 30}))
    found = wait_phase("no-secret", namespace, "Failed", seconds=90)
    assert condition(found, "Failed")["reason"] == "StartupTimeout"
    assert found["lastFailure"]["cause"] == "StartupTimeout"
    assert 'secret "nope" not found' in found["lastFailure"]["message"]


def test_an_unschedulable_job_says_why(namespace):
    apply(job("no-room", namespace, resources={"limits": {"nvidia.com/gpu": 8}}))
    found = wait(
        "why",
        lambda: (
            "Insufficient nvidia.com/gpu" in status("no-room", namespace).get("message", "")
            and status("no-room", namespace)
        ),
    )
    assert found["phase"] == "Pending"


def test_a_missing_config_map_fails_at_once_and_names_it(namespace):
    made = job("no-config", namespace)
    made["spec"]["template"] = {
        "spec": {"containers": [{"name": "trainer", "envFrom": [{"configMapRef": {"name": "nowhere"}}]}]}
    }
    apply(made)
    found = wait_phase("no-config", namespace, "Failed", seconds=60)
    assert condition(found, "Failed")["reason"] == "ConfigError"
    assert "nowhere" in found["message"]


@pytest.mark.alone
def test_restarting_the_operator_in_the_middle_disturbs_nothing(namespace):
    apply(job("undisturbed", namespace, SLOW))
    wait_phase("undisturbed", namespace, "Running", seconds=120)
    worker = pods("undisturbed", namespace)[0]["metadata"]["name"]
    wait("it steps", lambda: "step 3" in logs(worker, namespace), 120)

    def versions():
        made = get("pods", namespace=namespace) + get("tj", namespace=namespace) + get("services", namespace=namespace)
        return {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in made}

    before, old = versions(), leader()
    kubectl("delete", "pod", old, "-n", SYSTEM, "--grace-period=0", "--force")
    wait("another one leads", lambda: leader() not in (old, ""), 60)
    steps = logs(worker, namespace).count("step")
    wait("it steps on", lambda: logs(worker, namespace).count("step") > steps + 3)
    time.sleep(3)  # for a write that should not come
    assert versions() == before
    apply(job("after", namespace, image="Not A Name"))
    wait_phase("after", namespace, "Failed", seconds=60)


def test_suspend_and_resume_with_real_processes(namespace):
    apply(job("pauses", namespace, SLOW))
    wait_phase("pauses", namespace, "Running", seconds=120)
    patch("pauses", namespace, suspend=True)
    wait_phase("pauses", namespace, "Suspended", seconds=90)
    assert pods("pauses", namespace) == []
    patch("pauses", namespace, suspend=False)
    wait_phase("pauses", namespace, "Running", seconds=120)
    worker = pods("pauses", namespace)[0]["metadata"]["name"]
    assert worker.startswith("pauses-2-")
    wait("it steps again", lambda: "step 3" in logs(worker, namespace), 120)
    kubectl("delete", "tj", "pauses", "-n", namespace)
    wait("nothing is left", lambda: leftovers(namespace) == [], 90)


def test_shared_memory_is_sized_and_limits_hold(namespace):
    script = "import os; s = os.statvfs('/dev/shm'); print('shm', s.f_blocks * s.f_frsize // 2**20, 'MiB', flush=True)"
    apply(job("shm", namespace, script, nodes=1, sharedMemory="128Mi"))
    wait_phase("shm", namespace, "Succeeded", seconds=120)
    assert "shm 128 MiB" in logs("shm-1-0-0", namespace)


def test_twenty_jobs_at_once(namespace):
    """Small ones: no torch in them, for two cores start twenty torchruns a minute at best."""
    names = [f"crowd-{i}" for i in range(20)]
    tiny = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    made = [job(name, namespace, nodes=2, resources=tiny) for name in names]
    for each in made:
        each["spec"]["command"] = ["sh", "-c", "sleep 2; echo done by $PACELINE_JOB_NAME"]
    apply(*made)

    def all_done():
        found = [status(name, namespace).get("phase") for name in names]
        assert "Failed" not in found, found
        return found == ["Succeeded"] * 20

    wait("all succeed", all_done, 400)
    for name in names:
        assert [p["metadata"]["name"] for p in pods(name, namespace)] == [f"{name}-1-0-0", f"{name}-1-1-0"]


def test_deletion_while_pods_start_leaves_nothing(namespace):
    configmap("allreduce", "allreduce.py", namespace)
    apply(job("early", namespace, SLOW), job("later", namespace, SLOW))
    kubectl("delete", "tj", "early", "-n", namespace)
    wait("pods of the other are there", lambda: len(pods("later", namespace)) == 2)
    kubectl("delete", "tj", "later", "-n", namespace)
    kubectl("delete", "configmap", "allreduce", "-n", namespace)
    wait("nothing is left", lambda: leftovers(namespace) == [], 120)

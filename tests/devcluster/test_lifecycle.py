"""The embedded cluster itself, on this machine, as root. In order: each test leaves a cluster that works.

Run by `make devcluster-test`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devcluster import paths
from devcluster.process import start_time
from tests.kube import ROOT, wait

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces and mounts")

PROBE = """
import socket, ssl
address = socket.gethostbyname("kubernetes.default.svc")
socket.create_connection((address, 443), 5).close()
print("reached", address)
"""


LEFT = paths.STATE / "volumes" / "shared-0" / "left.txt"


def devcluster(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "devcluster", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kubectl(*arguments, check=True):
    return devcluster("exec", "--", "kubectl", *arguments, check=check)


def ready(name):
    return "True" in kubectl(
        "get", "node", name, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}', check=False
    )


def our_pids():
    """Processes of the cluster, by the namespaces that they live in."""
    names = [Path("/run/netns") / n for n in ("kcp", "n1", "n2") if (Path("/run/netns") / n).exists()]
    inodes = {n.stat().st_ino for n in names}
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in inodes:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def run_probe(name, node):
    """A pod on a node that finds the API server by its name and reaches it at its service address."""
    image = devcluster("build-image", "operator").strip().splitlines()[-1]
    devcluster("load-image", image)
    spec = {
        "restartPolicy": "Never",
        "nodeName": node,
        "containers": [{"name": "probe", "image": image, "command": ["python3", "-c", PROBE]}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    manifest = paths.STATE / f"{name}.json"
    manifest.write_text(json.dumps(pod), encoding="utf-8")
    kubectl("apply", "-f", str(manifest))
    phase = ["get", "pod", name, "-o", "jsonpath={.status.phase}"]
    wait(f"pod {name} ends", lambda: kubectl(*phase) in ("Succeeded", "Failed"), 90)
    said = kubectl("logs", name)
    kubectl("delete", "pod", name)
    return said


def test_up_gives_ready_nodes_names_and_services():
    devcluster("down")
    LEFT.parent.mkdir(parents=True, exist_ok=True)
    LEFT.write_text("of an earlier cluster", encoding="utf-8")
    devcluster("up", "--fake-gpus", "8")
    assert not LEFT.exists(), "a new cluster's volumes are empty"
    assert ready("n1")
    assert ready("n2")
    assert kubectl("get", "node", "n1", "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}") == "8"
    for node in ("n1", "n2"):
        assert "reached 10.96.0.1" in run_probe(f"probe-{node}", node)


def test_up_again_changes_nothing():
    before = lasting()
    devcluster("up", "--fake-gpus", "8")
    assert lasting() == before


def lasting():
    """Without those that kubelets and proxies start for a moment."""
    samples = []
    for _ in range(3):
        samples.append(set(our_pids()))
        time.sleep(0.5)
    return set.intersection(*samples)


def test_up_repairs_what_a_kill_of_every_process_left():
    LEFT.write_text("of this cluster", encoding="utf-8")
    for pid in our_pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    devcluster("up")
    assert ready("n1")
    assert ready("n2")
    assert "reached" in run_probe("after-kill", "n2")
    assert LEFT.exists(), "volumes keep what is in them"


def test_up_repairs_a_half_finished_node():
    devcluster("node", "stop", "n2")
    subprocess.run(["ip", "netns", "delete", "n2"], check=True)
    devcluster("up")
    assert ready("n2")


def test_a_cut_node_is_lost_and_comes_back():
    devcluster("node", "cut", "n2")
    wait("n2 is lost", lambda: not ready("n2"), 60)
    devcluster("node", "heal", "n2")
    wait("n2 is back", lambda: ready("n2"), 60)


def test_down_leaves_nothing():
    pids = our_pids()
    assert pids
    devcluster("down")
    assert [n for n in ("kcp", "n1", "n2") if (Path("/run/netns") / n).exists()] == []
    assert [pid for pid in pids if start_time(pid)] == []
    assert str(paths.STATE) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert list(Path("/sys/fs/cgroup").glob("*/kubelet-n*")) + list(Path("/sys/fs/cgroup").glob("kubelet-n*")) == []
    assert "is down" in devcluster("status")

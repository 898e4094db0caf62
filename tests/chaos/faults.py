"""What is done to a training run, one function each. Each returns at once, unless undoing it is part of the fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from devcluster import paths
from devcluster.process import Process
from tests.chaos.training import Training
from tests.e2e.conftest import SYSTEM, leader
from tests.kube import ROOT, get, kubectl, wait

# In the pod: signals the training process, which is found by its environment.
_SIGNAL = """
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        env = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
    except OSError:
        continue
    if b"LOCAL_RANK=0" in env:
        os.kill(int(pid), int(sys.argv[1]))
"""


def _signal(run: Training, number: signal.Signals) -> None:
    kubectl("exec", run.pod(1), "-n", run.namespace, "-c", "trainer", "--", "python3", "-c", _SIGNAL, str(int(number)))


def devcluster(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "devcluster", *arguments], cwd=ROOT, check=True, capture_output=True)


def kill_process(run: Training) -> None:
    _signal(run, signal.SIGKILL)


def crash_process(run: Training) -> None:
    _signal(run, signal.SIGSEGV)


def delete_worker(run: Training) -> None:
    kubectl("delete", "pod", run.pod(0), "-n", run.namespace, "--grace-period=0", "--force")


def delete_store(run: Training) -> None:
    kubectl("delete", "pod", f"{run.name}-rdzv", "-n", run.namespace, "--grace-period=0", "--force")


def evict(run: Training) -> None:
    pod = run.pod(1)
    meta = {"name": pod, "namespace": run.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    path = f"/api/v1/namespaces/{run.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def drain(run: Training) -> None:
    kubectl("drain", run.node(1), "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")


def notice(run: Training) -> None:
    kubectl("taint", "node", run.node(1), "karpenter.sh/disrupted=true:NoSchedule")


def cut_node(run: Training) -> None:
    devcluster("node", "cut", run.node(1))


def stop_node(run: Training) -> None:
    devcluster("node", "stop", run.node(1))


def mend_nodes() -> None:
    """All nodes whole again, whatever was done to them."""
    for name in ("n1", "n2"):
        devcluster("node", "heal", name)
        devcluster("node", "start", name)
        kubectl("uncordon", name)
        if any(t["key"] == "karpenter.sh/disrupted" for t in get("node", name)["spec"].get("taints", [])):
            kubectl("taint", "node", name, "karpenter.sh/disrupted-")


def spoil_newest_checkpoint(run: Training) -> None:
    """A process dies, and half of a file of the newest checkpoint is gone: the one before is to go on from."""
    kill_process(run)
    time.sleep(1)  # for a save that is under way; the next process takes longer to start
    newest = run.checkpoints()[-1]
    file = max(newest.glob("*.distcp"), key=lambda p: p.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def kill_operators(run: Training) -> None:
    """The leader, and then who has taken over."""
    for _ in range(2):
        old = leader()
        kubectl("delete", "pod", old, "-n", SYSTEM, "--grace-period=0", "--force")
        wait("another one leads", lambda old=old: leader() not in (old, ""), 60)


def stop_api_server(run: Training) -> None:
    """For a minute, as if its machine were off."""
    pid = Process("kube-apiserver").pid()
    assert pid is not None, paths.PIDS
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)
    devcluster("up")


def everything_at_once(run: Training) -> None:
    worker, store = run.pod(0), f"{run.name}-rdzv"
    kill_process(run)
    kubectl("delete", "pod", worker, store, "-n", run.namespace, "--grace-period=0", "--force")
    kubectl("delete", "pod", leader(), "-n", SYSTEM, "--grace-period=0", "--force")

"""What is done to a training run, one function each. Each returns at once, unless undoing it is part of the fault."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from devcluster import paths
from devcluster.process import Process
from tests import kube
from tests.chaos.training import Training
from tests.e2e.conftest import SYSTEM, leader
from tests.kube import ROOT, condition, get, kubectl, wait
from tests.reading import RefusedError

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


# In the pod: processes that take all memory that there is, until the kernel has ended the container.
_EAT = """
import os, time
while True:
    if os.fork() == 0:
        eaten = bytearray(b"x") * 2**26
        time.sleep(60)
        os._exit(0)
    time.sleep(0.05)
"""


def _signal(run: Training, number: signal.Signals) -> None:
    kubectl("exec", run.pod(1), "-n", run.namespace, "-c", "trainer", "--", "python3", "-c", _SIGNAL, str(int(number)))


def devcluster(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "devcluster", *arguments], cwd=ROOT, check=True, capture_output=True)


def kill_process(run: Training) -> None:
    _signal(run, signal.SIGKILL)


def crash_process(run: Training) -> None:
    _signal(run, signal.SIGSEGV)


def run_out_of_memory(run: Training) -> None:
    """The kernel kills one process after the other, the container's first one too."""
    with contextlib.suppress(RefusedError):  # it is killed as well
        kubectl("exec", run.pod(1), "-n", run.namespace, "-c", "trainer", "--", "python3", "-c", _EAT)


def delete_worker(run: Training) -> None:
    kubectl("delete", "pod", run.pod(0), "-n", run.namespace, "--grace-period=0", "--force")


def delete_store(run: Training) -> None:
    kubectl("delete", "pod", f"{run.name}-rdzv", "-n", run.namespace, "--grace-period=0", "--force")


def evict(run: Training) -> None:
    kube.evict(run.pod(1), run.namespace)


def drain(run: Training) -> None:
    kubectl("drain", run.node(1), "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")


def notice(run: Training) -> None:
    kubectl("taint", "node", run.node(1), "karpenter.sh/disrupted=true:NoSchedule")


def cut_node(run: Training) -> None:
    devcluster("node", "cut", run.node(1))


def heal_node(node: str) -> None:
    """Until its kubelet has told the API server again: what it still ran is ended by then, or trying to go on."""
    devcluster("node", "heal", node)
    devcluster("node", "start", node)
    wait(f"{node} is Ready", lambda: condition(get("node", node)["status"], "Ready").get("status") == "True", 90)


def stop_kubelet(run: Training) -> None:
    """Nobody tends the node any more, but its pods run on, with the network whole: they must not train in the new group."""
    pid = Process(f"{run.node(1)}-kubelet").pid()
    assert pid is not None, paths.PIDS
    os.kill(pid, signal.SIGKILL)


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


def spread_operators() -> None:
    """One on each node, as they were at first: both come to what is left of two nodes, and stay there."""
    if len({pod["spec"]["nodeName"] for pod in operators()}) == 1:
        kubectl("delete", "pod", operators()[0]["metadata"]["name"], "-n", SYSTEM)
    kubectl("rollout", "status", "deployment/paceline", "-n", SYSTEM, "--timeout=120s")


def spoil_newest_checkpoint(run: Training) -> None:
    """A process dies, and half of a file of the newest checkpoint is gone: the one before is to go on from."""
    kill_process(run)
    time.sleep(1)  # for a save that is under way; the next process takes longer to start
    newest = run.checkpoints()[-1]
    file = max(newest.glob("*.distcp"), key=lambda p: p.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def kill_operators(run: Training) -> None:
    """SIGKILL to the leader, and to the other one when that is back."""
    first = leader()
    for pod in sorted(operators(), key=lambda pod: pod["metadata"]["name"] != first):
        name, restarts = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"]
        _kill_all_of(pod["metadata"]["uid"])

        def back(name: str = name, restarts: int = restarts) -> bool:
            now = get("pod", name, SYSTEM)["status"]
            return (
                now["containerStatuses"][0]["restartCount"] > restarts and condition(now, "Ready")["status"] == "True"
            )

        wait(f"{name} is back", back, 90)


def operators() -> list[Any]:
    found: list[Any] = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=paceline")
    return found


def _kill_all_of(pod_uid: str) -> None:
    """Every process of a pod but the one that holds its network: a container's init cannot be killed from within."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            ours = f"pod{pod_uid}" in Path(f"/proc/{entry}/cgroup").read_text(encoding="utf-8")
            if ours and Path(f"/proc/{entry}/comm").read_text(encoding="utf-8").strip() != "pause":
                os.kill(int(entry), signal.SIGKILL)


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

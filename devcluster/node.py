"""A real node: containerd and kubelet in a network, mount and UTS namespace of their own. Ready in about 10 s."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from datetime import datetime
from pathlib import Path

from devcluster import nodeconfig, paths
from devcluster.commands import inside, netns_path, run, succeeds
from devcluster.console import ClusterError, step
from devcluster.controlplane import kubectl, wait_for
from devcluster.network import ensure_node, remove
from devcluster.process import Process, end
from devcluster.programs import program

CGROUPS = Path("/sys/fs/cgroup")


class Node:
    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"n{number}"
        self.folder = paths.NODES / self.name
        # Its disk, which outlives the cluster: the images on it took minutes to unpack.
        self.disk = paths.DISKS / self.name
        self.holder = Process(f"{self.name}-containerd")
        self.kubelet = Process(f"{self.name}-kubelet")
        self.proxy = Process(f"{self.name}-kube-proxy")

    # -- state -----------------------------------------------------------------------------------------------------

    def running(self) -> bool:
        return all(p.pid() for p in (self.holder, self.kubelet, self.proxy)) and self.ctr_answers()

    def ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return kubectl("get", "node", self.name, "-o", f"jsonpath={path}", check=False).strip() == "True"

    def _renewed(self) -> bool:
        path = ("-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}")
        when = kubectl("get", "lease", self.name, *path, check=False).strip()
        return bool(when) and datetime.fromisoformat(when).timestamp() > self.kubelet.started()

    def ctr_answers(self) -> bool:
        return self.holder.pid() is not None and succeeds(*self.within(), "ctr", "version")

    def within(self) -> list[str]:
        """The prefix that runs a command in the node's mount and network namespace. Raises ClusterError if it is down."""
        pid = self.holder.pid()
        if pid is None:
            raise ClusterError(f"node {self.name} is not running: python -m devcluster node start {self.name}")
        return ["nsenter", "-t", str(pid), "-m", "-n", "-u"]

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Brings the node up, whatever state it was left in; does nothing where it runs."""
        ensure_node(self.number)
        if self.running():
            return
        self.stop()
        ensure_node(self.number)
        self._prepare()
        command = [
            *inside(self.name),
            "unshare",
            "-m",
            "--uts",
            "--propagation",
            "private",
            "bash",
            str(self.folder / "start.sh"),
        ]
        self.holder.start(command)
        wait_for(self.ctr_answers, 60, f"containerd of {self.name}", self.holder.log)
        self._load_pause()
        kubelet = [f"--config={self.folder}/kubelet.yaml", f"--kubeconfig={paths.PKI}/node-{self.name}.kubeconfig"]
        kubelet += [f"--hostname-override={self.name}", f"--node-ip={nodeconfig.node_ip(self.number)}"]
        self.kubelet.start([*self.within(), program("kubelet"), *kubelet])
        proxy = [
            f"--kubeconfig={paths.PKI}/kube-proxy.kubeconfig",
            f"--hostname-override={self.name}",
            *nodeconfig.KUBE_PROXY,
        ]
        self.proxy.start([*self.within(), program("kube-proxy"), *proxy])

    def wait_ready(self, seconds: float = 60.0) -> None:
        """By the word of the kubelet that runs now: the API server has its predecessor's for some time."""
        wait_for(lambda: self._renewed() and self.ready(), seconds, f"node {self.name}", self.kubelet.log)

    def stop(self) -> None:
        """As if its power were cut: no pod gets a word, nothing of it stays."""
        for process in (self.kubelet, self.proxy):
            process.stop(grace_seconds=1)
        until = time.monotonic() + 20
        while pids := self._pids():
            end(pids, grace_seconds=0)
            if time.monotonic() > until:
                raise ClusterError(f"processes of node {self.name} do not end: {sorted(pids)}")
        self.holder.stop()
        self._remove_cgroups()

    def remove(self) -> None:
        self.stop()
        remove(self.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """The API server's record of it, and of its pods, which no kubelet will end any more."""
        kubectl("delete", "node", self.name, "--ignore-not-found", check=False)

    # -- details ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        for name in ("kubelet", "run", "log-pods", "log-containers", "cni-net.d", "cni-lib"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "run")  # sockets and bundles of a containerd that is gone
        (self.folder / "run").mkdir()
        (self.disk / "containerd").mkdir(parents=True, exist_ok=True)
        for name, text in nodeconfig.files(self.number, self.folder, self.disk).items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for controller in self._controllers():
            with contextlib.suppress(OSError):  # a controller that this kernel does not let us use
                (controller / nodeconfig.cgroup(self.number)).mkdir(exist_ok=True)

    def _load_pause(self) -> None:
        images = run(*self.within(), "ctr", "-n", "k8s.io", "images", "ls", "-q")
        if nodeconfig.PAUSE not in images.split():
            run(*self.within(), "ctr", "-n", "k8s.io", "images", "import", paths.IMAGES / "pause.tar")

    def _controllers(self) -> list[Path]:
        return [p for p in CGROUPS.iterdir() if p.is_dir()] if CGROUPS.is_dir() else []

    def _cgroups(self) -> list[Path]:
        found = [c / nodeconfig.cgroup(self.number) for c in [CGROUPS, *self._controllers()]]
        return [c for c in found if c.is_dir()]

    def _pids(self) -> set[int]:
        """Every process of the node: by the cgroups of its pods, and by its network namespace (containerd, shims)."""
        pids: set[int] = set()
        for cgroup in self._cgroups():
            for listing in cgroup.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    pids |= {int(line) for line in listing.read_text(encoding="utf-8").split()}
        try:
            mine = os.stat(netns_path(self.name)).st_ino
        except OSError:
            return pids
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.stat(entry / "ns/net").st_ino == mine:
                        pids.add(int(entry.name))
        return pids - {os.getpid()}

    def _remove_cgroups(self) -> None:
        for cgroup in self._cgroups():
            for folder in sorted([cgroup, *(p for p in cgroup.rglob("*") if p.is_dir())], key=lambda p: -len(p.parts)):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def existing() -> list[Node]:
    """The nodes that this state directory knows."""
    names = [p.name for p in paths.NODES.iterdir()] if paths.NODES.is_dir() else []
    return [Node(int(name[1:])) for name in sorted(names) if name[1:].isdigit()]


def start_all(count: int) -> None:
    nodes = [Node(number) for number in range(1, count + 1)]
    if all(node.running() and node.ready() for node in nodes):
        return
    with step(f"starting {count} nodes", "10-25 s"):
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready()

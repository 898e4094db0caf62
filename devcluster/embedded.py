"""The embedded cluster as a whole: up, down, status. Every step looks first, and does only what is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devcluster import addons, controlplane, firewall, gpus, images, network, packages, paths, pki, programs
from devcluster.commands import CONTROL_PLANE_NETNS, inside, netns_path
from devcluster.console import ClusterError, say, step
from devcluster.network import MAX_NODES
from devcluster.node import Node, existing, start_all
from devcluster.process import Process, end

# What a first `up` needs: the Go build (6), its programs (1), Debian's packages, images of the operator's size.
FIRST_GIB, LATER_GIB, TRAINER_GIB = 12.0, 2.0, 24.0


def up(nodes: int, kwok_nodes: int, fake_gpus: int, *, network_policies: bool = False, monitors: bool = False) -> None:
    if nodes > MAX_NODES:
        raise ClusterError(
            f"at most {MAX_NODES} nodes on one machine, not {nodes}; more pods fit on kwok's (--kwok-nodes)"
        )
    first = not programs.program("kube-apiserver").exists()
    packages.check_machine(paths.CACHE, FIRST_GIB if first else LATER_GIB)
    packages.check_machine(paths.STATE, LATER_GIB)
    packages.install({**packages.NEEDED, **(firewall.NEEDED if network_policies else {})})
    programs.ensure(nodes=nodes > 0, kwok=kwok_nodes > 0, firewall=network_policies)
    if nodes:
        paths.IMAGES.mkdir(parents=True, exist_ok=True)
        images.build_pause()
    _take_over()
    pki.ensure()
    network.ensure_control_plane()
    controlplane.start(controlplane.NODE_GRACE if nodes else controlplane.FAKE_NODE_GRACE)
    for surplus in existing():
        if surplus.number > nodes:
            surplus.remove()
            surplus.forget()
    if nodes:
        addons.start_dns()
        start_all(nodes)
        addons.make_volumes()
        for number in range(1, nodes + 1):
            if fake_gpus:
                gpus.start(Node(number), fake_gpus)
            if network_policies:
                firewall.start(Node(number))
    if kwok_nodes:
        addons.start_kwok(kwok_nodes)
    if monitors:
        addons.define_monitors()
    say("the cluster is up: python -m devcluster exec -- kubectl get nodes")


def down(*, purge: bool = False) -> None:
    """Nothing of the cluster is left: no process, namespace, mount or cgroup. Caches stay; ``purge`` takes the state too."""
    packages.require_root()
    with step("taking the cluster down", "5 s"):
        for number in range(1, MAX_NODES + 1):
            if netns_path(f"n{number}").exists() or (paths.NODES / f"n{number}").exists():
                for addon in ("fake-gpus", "kube-router"):
                    Process(f"n{number}-{addon}").stop(1)
                Node(number).remove()
        for process in (addons.KWOK, addons.COREDNS):
            process.stop(1)
        controlplane.stop()
        if netns_path(CONTROL_PLANE_NETNS).exists():
            end(_in_namespace(CONTROL_PLANE_NETNS), 1)
            network.remove(CONTROL_PLANE_NETNS)
        paths.OWNER.unlink(missing_ok=True)
        # The objects lived with this cluster; a new one starts empty.
        shutil.rmtree(paths.STATE if purge else paths.STATE / "etcd", ignore_errors=True)


def status() -> str:
    if not controlplane.healthy():
        return "the embedded cluster is down: make cluster-up"
    return controlplane.kubectl("get", "nodes", "-o", "wide")


def load_image(refs: list[str]) -> None:
    nodes = [node for node in existing() if node.running()]
    if not nodes:
        raise ClusterError("no real node runs: make cluster-up")
    in_use = set(controlplane.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].spec..image}").split())
    for ref in refs:
        with ThreadPoolExecutor() as pool:  # all nodes at once: it is mostly writing
            loads = [
                pool.submit(
                    images.load,
                    ref,
                    node.name,
                    [*node.within(), "ctr", "-n", "k8s.io"],
                    node.disk / "containerd",
                    in_use,
                )
                for node in nodes
            ]
            for load in loads:
                load.result()


def build_image(name: str) -> str:
    packages.check_machine(paths.CACHE, TRAINER_GIB if name == "trainer" and not images.built(name) else LATER_GIB)
    packages.install()
    return images.build(name)


def command_prefix() -> list[str]:
    """What runs a command inside the cluster's network."""
    packages.require_root()
    if not netns_path(CONTROL_PLANE_NETNS).exists():
        raise ClusterError("the embedded cluster is down: make cluster-up")
    return inside(CONTROL_PLANE_NETNS)


def environment() -> dict[str, str]:
    return {"KUBECONFIG": str(paths.KUBECONFIG), "PATH": f"{paths.PROGRAMS}:{os.environ['PATH']}"}


def _take_over() -> None:
    """There can be one: another checkout's cluster goes first, with all its processes, even if its files are gone."""
    mine = str(paths.STATE)
    owner = paths.OWNER.read_text(encoding="utf-8").strip() if paths.OWNER.exists() else ""
    if owner == mine:
        return
    if netns_path(CONTROL_PLANE_NETNS).exists() or any(netns_path(f"n{i}").exists() for i in range(1, MAX_NODES + 1)):
        say(f"taking down the cluster of {owner or 'an earlier run'}: there can be one on a machine")
        down()
    paths.OWNER.parent.mkdir(parents=True, exist_ok=True)
    paths.OWNER.write_text(mine, encoding="utf-8")


def _in_namespace(name: str) -> list[int]:
    mine = netns_path(name).stat().st_ino
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino == mine:
                    found.append(int(entry.name))
    return found

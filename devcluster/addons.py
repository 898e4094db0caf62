"""What a cluster needs beside its control plane: names (CoreDNS), the nodes' proxies' rights, fake nodes (kwok)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from devcluster import paths, programs
from devcluster.commands import CONTROL_PLANE_NETNS, inside
from devcluster.console import step
from devcluster.controlplane import kubectl, wait_for
from devcluster.network import API_SERVER_IP, POD_RANGE
from devcluster.process import Process
from devcluster.programs import program

# Claims that can be bound at once.
VOLUMES = 32
COREDNS, KWOK = Process("coredns"), Process("kwok")
KWOK_STAGES = Path(__file__).with_name("kwok-stages.yaml")


def start_dns() -> None:
    """CoreDNS as a process on the bridge's address."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "devcluster-node-proxier"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
    }
    if not kubectl("get", "clusterrolebinding", "devcluster-node-proxier", "-o", "name", "--ignore-not-found"):
        kubectl("create", "-f", "-", stdin=json.dumps(binding))
    corefile = paths.STATE / "Corefile"
    # Short caches: a rendezvous store that came back has a new address at once.
    corefile.write_text(
        f""".:53 {{
  bind {API_SERVER_IP}
  errors
  kubernetes cluster.local {POD_RANGE} {{
    kubeconfig {paths.KUBECONFIG} paceline
    pods insecure
    ttl 2
  }}
  cache 2
}}
""",
        encoding="utf-8",
    )
    COREDNS.start([*inside(CONTROL_PLANE_NETNS), program("coredns"), "-conf", corefile])


def make_volumes() -> None:
    """Shared volumes, as a file server would give them: folders of this machine, which every node sees."""
    there = {
        v["metadata"]["name"]: v["status"]["phase"] for v in json.loads(kubectl("get", "pv", "-o", "json"))["items"]
    }
    wanted: list[dict[str, object]] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "shared", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
        }
    ]
    for index in range(VOLUMES):
        name = f"shared-{index}"
        folder = paths.STATE / "volumes" / name
        # What is in it belonged to a claim that is gone, or to an earlier cluster.
        if there.get(name) not in ("Available", "Bound", "Pending"):
            kubectl("delete", "pv", name, "--ignore-not-found")
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
        spec = {
            "storageClassName": "shared",
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder)},
        }
        wanted.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}))


def define_monitors() -> None:
    """The kinds of prometheus-operator, without the operator: the API server can judge what charts render of them."""
    folder = programs.published(programs.PROMETHEUS_OPERATOR) / "example/prometheus-operator-crd"
    monitors = ("servicemonitors", "podmonitors", "prometheusrules")
    for plural in monitors:
        kubectl("apply", "--server-side", "-f", str(folder / f"monitoring.coreos.com_{plural}.yaml"))
    # `kubectl wait` fails where a definition is so new that its conditions are null: then it is asked again.
    names = [f"crd/{plural}.monitoring.coreos.com" for plural in monitors]
    command = ("wait", "--for=condition=Established", *names, "--timeout=5s")
    log = Process("kube-apiserver").log
    wait_for(lambda: kubectl(*command, check=False).count("condition met") == len(names), 30, "the kinds", log)


def start_kwok(count: int) -> None:
    """Fake nodes whose pods run at once, by kwok with stages of our own."""
    with step(f"starting {count} fake nodes", "3 s"):
        KWOK.start(
            [
                *inside(CONTROL_PLANE_NETNS), program("kwok"), f"--kubeconfig={paths.PKI}/kwok.kubeconfig",
                f"--config={KWOK_STAGES}", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                "--node-lease-duration-seconds=40", "--server-address=127.0.0.1:10247",
            ]
        )  # fmt: skip
        nodes = {"apiVersion": "v1", "kind": "List", "items": [fake_node(i) for i in range(count)]}
        kubectl("apply", "-f", "-", stdin=json.dumps(nodes))
        wait_for(lambda: _fake_ready() >= count, 60, "kwok", KWOK.log)


def fake_node(index: int) -> dict[str, object]:
    name = f"kwok-{index}"
    size = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": size, "capacity": size},
    }


def _fake_ready() -> int:
    path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}'
    return kubectl("get", "nodes", "-l", "type=kwok", "-o", f"jsonpath={path}", check=False).split().count("True")

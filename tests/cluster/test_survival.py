"""Failures and their answers on a real API server: evictions, lost nodes, elastic sizes. kwok plays the kubelets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kube import apply, condition, evict, get, job, kubectl, pods, status, wait, wait_phase

pytestmark = pytest.mark.usefixtures("operator")

SPARE = "kwok-spare"
LABEL = "paceline.dev/test"
ALONE = {"requests": {"cpu": 40}}  # a fake node has 64: one such worker on each


@pytest.fixture
def spare(namespace: str) -> Iterator[str]:
    """A fake node of the test's own, that nobody says heartbeats for but the test."""
    node = get("node", "kwok-0")
    meta = {
        "name": SPARE,
        "labels": {**node["metadata"]["labels"], "kubernetes.io/hostname": SPARE, LABEL: namespace},
        "annotations": node["metadata"]["annotations"],
    }
    size = {field: node["status"][field] for field in ("allocatable", "capacity")}
    taints = [t for t in node["spec"]["taints"] if t["key"] == "kwok.x-k8s.io/node"]
    apply({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"taints": taints}, "status": size})
    wait("the spare node is ready", lambda: ready(SPARE))
    yield SPARE
    kubectl("delete", "node", SPARE, "--ignore-not-found")


def ready(node: str) -> bool:
    """And known to be: the node controller takes a new node's taint away a moment after it has become ready."""
    found = get("node", node)
    tainted = any(t["key"] == "node.kubernetes.io/not-ready" for t in found["spec"].get("taints", []))
    return condition(found["status"], "Ready").get("status") == "True" and not tainted


def names(name: str, namespace: str) -> list[str]:
    return sorted(p["metadata"]["name"] for p in pods(name, namespace) if "deletionTimestamp" not in p["metadata"])


def pinned(name: str, namespace: str, worker: int, **spec):
    """A job of which all may go to the spare node, and prefer it."""
    made = job(name, namespace, **spec)
    term = {"matchExpressions": [{"key": LABEL, "operator": "In", "values": [namespace]}]}
    made["spec"]["template"]["spec"]["affinity"] = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 90, "preference": term}]}
    }
    return made


def on(node: str, name: str, namespace: str) -> list[str]:
    return [p["metadata"]["name"] for p in pods(name, namespace) if p["spec"].get("nodeName") == node]


@pytest.mark.parametrize(("how", "cause"), [("delete", "PodDeleted"), ("evict", "NodeDrained")])
def test_a_worker_that_is_taken_is_replaced_and_the_others_stay(namespace, how, cause):
    apply(job("taken", namespace))
    wait_phase("taken", namespace, "Running")
    uids = {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods("taken", namespace)}
    if how == "delete":
        kubectl("delete", "pod", "taken-1-0-0", "-n", namespace)
    else:
        evict("taken-1-0-0", namespace)
    found = wait(
        "it is replaced",
        lambda: (s := status("taken", namespace))["restarts"].get("pod") and s["phase"] == "Running" and s,
    )
    now = {p["metadata"]["uid"] for p in pods("taken", namespace) if "deletionTimestamp" not in p["metadata"]}
    assert len(now) == 2
    assert now & set(uids.values()) == {uids["taken-1-1-0"]}
    assert (found["attempt"], found["restarts"]["pod"], found["restarts"]["infrastructure"]) == (1, 1, 1)
    assert (found["restarts"]["job"], found["restarts"]["total"]) == (0, 1)
    assert found["lastFailure"]["cause"] == cause
    assert found["lastFailure"]["pod"] == "taken-1-0-0"
    assert found["lastFailure"]["hint"]


def test_a_lost_store_begins_a_new_generation(namespace):
    apply(job("store", namespace))
    wait_phase("store", namespace, "Running")
    kubectl("delete", "pod", "store-rdzv", "-n", namespace)
    found = wait(
        "the next attempt runs",
        lambda: (s := status("store", namespace))["attempt"] == 2 and s["phase"] == "Running" and s,
    )
    assert found["lastFailure"]["cause"] == "RendezvousLost"
    assert found["restarts"]["job"] == 0


def test_a_node_that_is_gone_is_fenced_off(namespace, spare):
    apply(pinned("lost", namespace, 2, nodeLoss={"detectSeconds": 1}))
    wait_phase("lost", namespace, "Running")
    there = on(spare, "lost", namespace)
    assert there, "the scheduler prefers the spare node for at least one"
    kubectl("delete", "node", spare)
    found = wait(
        "the next attempt runs elsewhere",
        lambda: (s := status("lost", namespace))["attempt"] == 2 and s["phase"] == "Running" and s,
    )
    assert (found["lastFailure"]["cause"], found["lastFailure"]["node"]) == ("NodeLost", spare)
    assert found["restarts"]["job"] == 0
    assert not set(names("lost", namespace)) & set(there), "force-deleted: nobody is left to confirm it"


def test_a_termination_notice_moves_the_pod(namespace, spare):
    apply(pinned("notice", namespace, 2))
    wait_phase("notice", namespace, "Running")
    there = on(spare, "notice", namespace)
    assert there
    kubectl("taint", "node", spare, "karpenter.sh/disrupted=true:NoSchedule")
    found = wait(
        "it runs elsewhere",
        lambda: (s := status("notice", namespace)).get("restarts", {}).get("pod") and s["phase"] == "Running" and s,
    )
    assert found["lastFailure"]["cause"] == "NodeDrained"
    assert found["attempt"] == 1
    wait("the node is empty", lambda: on(spare, "notice", namespace) == [])


def test_an_elastic_gang_goes_on_smaller_and_grows_back(namespace):
    """Four fake nodes; the blocker holds one of them, so that a fourth worker finds no room."""
    elastic = {"minNodes": 1, "maxNodes": 4, "scaleUpCooldownSeconds": 5}
    apply(job("blocker", namespace, nodes=1, resources=ALONE))
    wait_phase("blocker", namespace, "Running")
    apply(job("stretch", namespace, nodes=4, elastic=elastic, resources=ALONE))
    found = wait(
        "it runs with three",
        lambda: (s := status("stretch", namespace)).get("phase") == "Running" and s["nodes"]["summary"] == "3/4" and s,
        90,
    )
    assert condition(found, "Degraded")["status"] == "True"
    assert (found["nodes"]["min"], found["nodes"]["max"], found["attempt"]) == (1, 4, 1)
    kubectl("delete", "tj", "blocker", "-n", namespace)
    found = wait("it is whole", lambda: (s := status("stretch", namespace))["nodes"]["summary"] == "4/4" and s, 90)
    assert found["attempt"] == 1, "the others never stopped"
    kubectl("scale", "tj/stretch", "-n", namespace, "--replicas=2")
    found = wait("it has two", lambda: (s := status("stretch", namespace))["nodes"]["summary"] == "2/2" and s)
    assert len(names("stretch", namespace)) == 2
    assert found["restarts"]["total"] == 0


def test_sizes_between_are_never_tried(namespace):
    elastic = {"minNodes": 1, "maxNodes": 4, "allowedNodes": [1, 2, 4], "scaleUpCooldownSeconds": 3600}
    apply(job("blocker", namespace, nodes=1, resources=ALONE))
    wait_phase("blocker", namespace, "Running")
    apply(job("steps", namespace, nodes=4, elastic=elastic, resources=ALONE))
    found = wait(
        "it runs with two",
        lambda: (s := status("steps", namespace)).get("phase") == "Running" and s["nodes"]["summary"] == "2/4" and s,
        90,
    )
    worker = pods("steps", namespace)[0]
    env = {e["name"]: e.get("value") for e in worker["spec"]["containers"][0]["env"]}
    assert env["PET_NNODES"] == "2:2", "torchrun must not form a group of three"
    assert found["attempt"] == 2

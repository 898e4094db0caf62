"""The network policy of a gang, enforced: who reaches whom, and that nothing else than the policy keeps the others out.

Needs nodes that enforce policies: `devcluster up --network-policies`, as `make e2e` does for this file.
"""

from __future__ import annotations

import json

import pytest

from tests.chaos.training import Training, claim
from tests.e2e.conftest import SYSTEM
from tests.kube import apply, get, kubectl, pods, status, wait, wait_phase
from tools.install import install

pytestmark = pytest.mark.network_policies

IMAGE = "localhost/paceline-trainer:0.1.0"
PORT = 8000
SERVER = {
    "name": "server",
    "image": IMAGE,
    "command": ["python3", "-m", "http.server", str(PORT), "--directory", "/tmp"],
    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close(); print('reached')"


@pytest.fixture
def fenced():
    install(SYSTEM, "--set", "jobs.networkPolicy.enabled=true")
    yield
    install(SYSTEM)


def outsider(name, node, namespace):
    """A pod of the gang's namespace that is not of the gang."""
    spec = {"nodeName": node, "containers": [SERVER], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def reaches(source, target, port, namespace):
    """Does a connection come about, from a pod's sidecar to a pod's port?"""
    address = get("pod", target, namespace)["status"]["podIP"]
    inside = ["exec", source, "-n", namespace, "-c", "server", "--", "python3", "-c"]
    script = (
        f"import sys; sys.argv[1:] = {[address, str(port)]!r}\ntry:\n    {CONNECT}\nexcept OSError as e:\n    print(e)"
    )
    return "reached" in kubectl(*inside, script)


def test_a_gang_is_among_itself(fenced, namespace):
    run = Training("fenced", namespace, epochs=10000, template={"spec": {"containers": [SERVER]}})
    apply(claim(namespace), outsider("near-1", "n1", namespace), outsider("near-2", "n2", namespace))
    run.apply()
    # That it trains shows that names are found, that the gang meets and talks; what it reports has reached the operator.
    wait("progress", lambda: int(status("fenced", namespace).get("progress", {}).get("step") or 0) > 0, 240)
    first, second = (p["metadata"]["name"] for p in pods("fenced", namespace))
    assert {p["spec"]["nodeName"] for p in pods("fenced", namespace)} == {"n1", "n2"}
    kubectl("wait", "--for=condition=Ready", "pod/near-1", "pod/near-2", "-n", namespace, "--timeout=60s")
    within = [(first, second, PORT), (second, first, PORT), (first, "fenced-rdzv", 29400)]
    outside = [(near, worker, PORT) for near in ("near-1", "near-2") for worker in (first, second)]
    outside += [(worker, near, PORT) for near in ("near-1", "near-2") for worker in (first, second)]
    outside += [("near-1", "fenced-rdzv", 29400)]

    def reached(pairs):
        return [pair for pair in pairs if reaches(*pair, namespace)]

    assert reached(within) == within
    assert reached(outside) == [], "is the policy enforced? devcluster up --network-policies"
    assert reached([("near-1", "near-2", PORT)]), "pods that no policy selects are free"
    before = status("fenced", namespace)["progress"]["step"]
    wait("it trains on", lambda: status("fenced", namespace)["progress"]["step"] > before)

    kubectl("delete", "networkpolicy", "--all", "-n", namespace)
    wait("without the policy all are reached", lambda: reached(outside) == outside)


def test_the_metrics_port_is_open_to_whom_the_chart_names(namespace):
    """And no other port, and to nobody else."""
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    scraper = {**here, "podSelector": {"matchLabels": {"scrapes": "yes"}}}
    install(SYSTEM, "--set-json", f"jobs.networkPolicy={json.dumps({'enabled': True, 'metricsFrom': [scraper]})}")
    try:
        metrics = SERVER | {"name": "metrics", "command": [*SERVER["command"][:3], "9400", "--directory", "/tmp"]}
        sleeps = {"name": "trainer", "command": ["sleep", "3600"]}
        template = {"spec": {"containers": [sleeps, SERVER, metrics]}}
        run = Training("scraped", namespace, nodes=1, template=template)
        let = outsider("let", "n1", namespace)
        let["metadata"]["labels"] = {"scrapes": "yes"}
        apply(claim(namespace), let, outsider("not-let", "n1", namespace))
        run.apply()
        wait_phase("scraped", namespace, "Running", seconds=120)
        kubectl("wait", "--for=condition=Ready", "pod/let", "pod/not-let", "-n", namespace, "--timeout=60s")
        worker = pods("scraped", namespace)[0]["metadata"]["name"]
        wait("the scraper is let in", lambda: reaches("let", worker, 9400, namespace))
        assert not reaches("let", worker, PORT, namespace)
        assert not reaches("not-let", worker, 9400, namespace)
    finally:
        install(SYSTEM)

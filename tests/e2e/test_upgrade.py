"""`helm upgrade` and `helm uninstall` under a job that trains."""

from __future__ import annotations

import subprocess

import pytest

from tests.chaos.training import Training, claim
from tests.e2e.conftest import SYSTEM, leader
from tests.kube import apply, get, kubectl, pods, status, wait
from tools.install import RELEASE, install

pytestmark = pytest.mark.alone


def operators():
    found = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=paceline")
    return {p["metadata"]["name"] for p in found if "deletionTimestamp" not in p["metadata"]}


def identities(name, namespace):
    return {p["metadata"]["uid"] for role in ("worker", "rendezvous") for p in pods(name, namespace, role)}


def step(name, namespace):
    return int(status(name, namespace).get("progress", {}).get("step") or 0)


def crd():
    return get("crd", "trainingjobs.paceline.dev")["metadata"]["uid"]


def test_a_job_trains_through_an_upgrade(namespace):
    apply(claim(namespace))
    Training("through", namespace, epochs=10000).apply()
    wait("progress", lambda: step("through", namespace) > 0, 240)
    before, old, definition = identities("through", namespace), operators(), crd()
    try:
        install(SYSTEM, "--set-string", "podAnnotations.upgraded=yes")
        wait("only new operators", lambda: operators() and not operators() & old, 120)
        wait("one of them leads", lambda: leader() in operators(), 60)
        reached = step("through", namespace)
        wait("progress is reported to it", lambda: step("through", namespace) > reached + 20, 120)
        now = status("through", namespace)
        assert identities("through", namespace) == before, "the same pods"
        assert (now["attempt"], now["restarts"]["total"], now["phase"]) == (1, 0, "Running")
        assert "lastFailure" not in now
        assert crd() == definition
    finally:
        install(SYSTEM)


def test_uninstall_leaves_definition_and_jobs_and_a_new_installation_takes_them_over(namespace):
    apply(claim(namespace))
    Training("stays", namespace, epochs=10000).apply()
    wait("progress", lambda: step("stays", namespace) > 0, 240)
    before, definition = identities("stays", namespace), crd()
    try:
        subprocess.run(["helm", "uninstall", RELEASE, "-n", SYSTEM, "--wait"], check=True, capture_output=True)
        # Helm waits for its own objects; their pods are the garbage collector's.
        wait("the operators are told to end", lambda: not operators(), 120)
        assert crd() == definition
        assert identities("stays", namespace) == before
        assert status("stays", namespace)["phase"] == "Running"
    finally:
        install(SYSTEM)
    kubectl("delete", "tj", "stays", "-n", namespace)
    wait("nothing of it is left", lambda: not identities("stays", namespace), 120)

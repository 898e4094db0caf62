"""The real thing: the chart installed by Helm on real kubelets, jobs that train with real torchrun.

Run by `make e2e`, which brings cluster and images up and runs pytest inside the cluster's network.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.kube import ROOT, get, kubectl, wait
from tools.install import install

SYSTEM = "paceline-system"
# USD an hour, as every node is annotated: a dollar a second, so that what seconds cost can be seen.
PRICE_ANNOTATION, PRICE = "paceline.dev/price-per-hour", 3600


def pytest_sessionstart(session: pytest.Session) -> None:
    """Once, before any test: pytest-xdist's workers, where there are some, find it installed and the nodes priced."""
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        install(SYSTEM)
        kubectl("annotate", "nodes", "--all", "--overwrite", f"{PRICE_ANNOTATION}={PRICE}")


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of the test's own; gone afterwards, with all that is in it."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    wait("its service account", lambda: "default" in kubectl("get", "serviceaccount", "-n", name, "-o", "name"))
    yield name
    for job in get("tj", namespace=name):
        print(job["metadata"]["name"], job.get("status"))
    kubectl("delete", "namespace", name, "--wait=false")


def configmap(name: str, script: str, namespace: str) -> None:
    """What an example's header says: the script as a ConfigMap."""
    kubectl("create", "configmap", name, f"--from-file={ROOT / 'examples/scripts' / script}", "-n", namespace)


def logs(pod: str, namespace: str) -> str:
    return kubectl("logs", pod, "-n", namespace, "-c", "trainer")


def leader() -> str:
    holder: str = get("lease", "paceline-operator", SYSTEM)["spec"]["holderIdentity"]
    return holder


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

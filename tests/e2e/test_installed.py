"""The chart as it is installed: `helm test`, and what is scraped of leader and standby."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.e2e.conftest import SYSTEM, leader, run
from tests.e2e.test_real_nodes import SLOW, job
from tests.kube import apply, get, kubectl, wait, wait_phase
from tools.install import RELEASE, install

pytestmark = pytest.mark.alone

HELM_TEST = ("helm", "test", RELEASE, "-n", SYSTEM, "--timeout", "2m")
READ = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"


def metrics(pod):
    """The page of one operator, read inside its own pod."""
    return kubectl("exec", pod, "-n", SYSTEM, "--", "python3", "-c", READ, "http://127.0.0.1:8080/metrics")


def test_helm_test_passes_and_leaves_nothing():
    assert "Phase:          Succeeded" in run(*HELM_TEST)
    assert get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=paceline-test") == []


def test_helm_test_fails_where_nobody_answers():
    install(SYSTEM, "--set", "replicas=0")
    try:
        wait("no operator is left", lambda: not get("pods", namespace=SYSTEM))
        with pytest.raises(subprocess.CalledProcessError):
            run(*HELM_TEST)
        assert "ready: " in kubectl("logs", f"{RELEASE}-test", "-n", SYSTEM), "it says what does not answer"
    finally:
        install(SYSTEM)


def test_all_operators_are_scraped_and_only_the_leader_tells_of_jobs(namespace):
    apply(job("told", namespace, SLOW))
    wait_phase("told", namespace, "Running", seconds=120)
    slices = get("endpointslices", namespace=SYSTEM, selector=f"kubernetes.io/service-name={RELEASE}-metrics")
    behind = {e["targetRef"]["name"] for s in slices for e in s["endpoints"] if e["conditions"]["ready"]}
    operators = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=paceline")
    assert behind == {p["metadata"]["name"] for p in operators}
    assert len(behind) == 2

    def jobs(page):
        return set(re.findall(r'^paceline_job_\w+{[^}]*job="told"', page, re.MULTILINE))

    pages = {pod: metrics(pod) for pod in behind}
    assert {pod for pod, page in pages.items() if "paceline_leader 1.0" in page} == {leader()}
    assert {pod for pod, page in pages.items() if "paceline_leader 0.0" in page} == behind - {leader()}
    assert [pod for pod, page in pages.items() if jobs(page)] == [leader()]

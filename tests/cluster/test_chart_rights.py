"""The chart's rights are enough: an operator that has nothing else is refused nothing, in all that it ever asks for."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request

import pytest
import yaml

from tests.kube import ROOT, apply, get, job, kubectl, patch, pods, quiet, status, wait, wait_phase

SOON = {"kwok.paceline.dev/complete-after": "1s"}
FAILS = {"kwok.paceline.dev/fail-after": "1s"}


@pytest.fixture
def account(namespace, tmp_path):
    """A kubeconfig of the service account that the chart makes."""
    values = "replicas=0,crds.install=false,rbac.aggregateToUserRoles=false,jobs.networkPolicy.enabled=true"
    command = ["helm", "install", namespace, str(ROOT / "charts/paceline"), "-n", namespace, "--set", values]
    subprocess.run(command, check=True, capture_output=True)
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    token = kubectl("create", "token", f"{namespace}-paceline", "-n", namespace).strip()
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    yield path
    subprocess.run(["helm", "uninstall", namespace, "-n", namespace], check=True, capture_output=True)


@pytest.fixture
def confined(operator, standby, account, namespace):
    """An operator as the chart's service account; the only one, so the session's own has stopped."""
    quiet()
    operator.stop()
    standby.guards.append("--job-network-policy={}")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("KUBECONFIG", str(account))
        env.setenv("POD_NAMESPACE", namespace)
        standby.start()
    try:
        wait("the confined operator leads", standby.leads)
        yield standby
    finally:
        standby.stop()
        operator.start()
        wait("the session's operator leads again", operator.leads)


def report_with_a_false_token(port, tls, namespace):
    """The HTTP status; the operator has to ask the API server whose token it is."""
    url = f"https://localhost:{port}/v1alpha1/namespaces/{namespace}/trainingjobs/halts/progress"
    request = urllib.request.Request(url, b"{}", {"Authorization": "Bearer nonsense"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=tls / "ca.crt"))
    return refused.value.code


def test_an_operator_with_the_charts_rights_is_refused_nothing(confined, tls, namespace):
    apply(
        job("ends", namespace, SOON, ttlSecondsAfterFinished=2),  # deletes the job
        job("restarts", namespace, FAILS),  # deletes and makes pods anew
        job("halts", namespace, progress={"logPattern": r"step=(?P<step>\d+)/(?P<total>\d+)"}),  # reads a log
    )
    wait_phase("halts", namespace, "Running")
    for kind in ("networkpolicies", "poddisruptionbudgets"):
        owners = {o["metadata"]["ownerReferences"][0]["name"] for o in get(kind, namespace=namespace)}
        assert owners == {"ends", "restarts", "halts"}, kind
    assert report_with_a_false_token(confined.progress_port, tls, namespace) == 403
    wait("a second attempt", lambda: status("restarts", namespace).get("attempt", 0) >= 2)
    wait("the ended job's time is up", lambda: "ends" not in [j["metadata"]["name"] for j in get("tj", "", namespace)])
    patch("halts", namespace, suspend=True)
    wait_phase("halts", namespace, "Suspended")
    wait("its pods are gone", lambda: not pods("halts", namespace))
    wait("events are told", lambda: "trainingjob/" in kubectl("get", "events", "-n", namespace))
    assert kubectl("get", "endpointslice", "localhost", "-n", namespace, "-o", "name")
    counted = [line for line in confined.metrics().splitlines() if line.startswith("paceline_api_requests_total")]
    assert counted
    assert not [line for line in counted if 'code="403"' in line or 'code="401"' in line]

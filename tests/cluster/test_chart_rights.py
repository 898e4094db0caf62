"""The chart's rights are these and no others, and enough: an operator that has nothing else is refused nothing."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest
import yaml

from tests.kube import ROOT, apply, get, job, kubectl, patch, pods, quiet, status, wait, wait_phase

# What the API server grants, by group/resource; in every namespace, and besides in the operator's own.
EVERYWHERE = {
    "paceline.dev/trainingjobs": {"list", "watch", "get", "create", "patch", "delete"},
    "paceline.dev/compressionjobs": {"list", "watch", "delete"},
    "paceline.dev/trainingjobs/status": {"patch"},
    "paceline.dev/compressionjobs/status": {"patch"},
    "paceline.dev/trainingjobs/finalizers": {"update"},
    "paceline.dev/compressionjobs/finalizers": {"update"},
    "/pods": {"list", "watch", "create", "delete"},
    "/pods/log": {"get"},
    "/services": {"create"},
    "/nodes": {"list", "watch"},
    "/events": {"list"},
    "events.k8s.io/events": {"create"},
    "policy/poddisruptionbudgets": {"create"},
    "authentication.k8s.io/tokenreviews": {"create"},
}
FENCED = {"networking.k8s.io/networkpolicies": {"create"}}
AT_HOME = {
    "coordination.k8s.io/leases": {"get", "create", "update"},
    "discovery.k8s.io/endpointslices": {"get", "create", "patch"},
}
SOON = {"kwok.paceline.dev/complete-after": "1s"}
FAILS = {"kwok.paceline.dev/fail-after": "1s"}


def install(namespace, *values):
    options = ",".join(["replicas=0,crds.install=false,rbac.aggregateToUserRoles=false", *values])
    command = [
        "helm",
        "upgrade",
        "--install",
        namespace,
        str(ROOT / "charts/paceline"),
        "-n",
        namespace,
        "--set",
        options,
    ]
    subprocess.run(command, check=True, capture_output=True)


def granted(account, namespace):
    """The API server's own word for what an account may do in a namespace, by group/resource."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    command = ["create", "--validate=false", "-f", "-", "-o", "json", f"--as=system:serviceaccount:{account}"]
    status = json.loads(kubectl(*command, stdin=json.dumps(review)))["status"]
    assert status["incomplete"] is False
    found = {}
    for rule in status["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return found


def test_the_api_server_grants_this_and_nothing_else(namespace):
    account = f"{namespace}:{namespace}-paceline"

    def of_the_chart(where):
        anybody = granted(f"{namespace}:nobody", where)
        mine = {what: verbs - anybody.get(what, set()) for what, verbs in granted(account, where).items()}
        return {what: verbs for what, verbs in mine.items() if verbs}

    try:
        install(namespace)
        assert of_the_chart("default") == EVERYWHERE
        assert of_the_chart(namespace) == EVERYWHERE | AT_HOME
        install(namespace, "jobs.networkPolicy.enabled=true,jobs.podDisruptionBudget.enabled=false")
        without_budgets = {what: verbs for what, verbs in EVERYWHERE.items() if not what.startswith("policy/")}
        assert of_the_chart("default") == without_budgets | FENCED
    finally:
        subprocess.run(["helm", "uninstall", namespace, "-n", namespace], check=True, capture_output=True)


@pytest.fixture
def account(namespace, tmp_path):
    """A kubeconfig of the service account that the chart makes."""
    install(namespace, "jobs.networkPolicy.enabled=true")
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
        job("ends", namespace, ttlSecondsAfterFinished=2),  # deletes the job
        job("restarts", namespace, FAILS),  # deletes and makes pods anew
        job("halts", namespace, progress={"logPattern": r"step=(?P<step>\d+)/(?P<total>\d+)"}),  # reads a log
    )
    wait_phase("halts", namespace, "Running")
    for kind in ("networkpolicies", "poddisruptionbudgets"):
        owners = {o["metadata"]["ownerReferences"][0]["name"] for o in get(kind, namespace=namespace)}
        assert owners == {"ends", "restarts", "halts"}, kind
    for pod in pods("ends", namespace):
        kubectl("annotate", "pod", pod["metadata"]["name"], "-n", namespace, "kwok.paceline.dev/complete-after=0s")
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

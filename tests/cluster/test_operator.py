"""The operator as a process: restarts, fail-over, and who may report progress."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request

import pytest

from paceline.plan.pace import PATIENCE_SECONDS
from tests.cluster.reporting import Reporter, token
from tests.kube import apply, get, job, kubectl, patch, pods, quiet, status, wait, wait_phase

SOON = {"kwok.paceline.dev/complete-after": "2s"}


def versions(namespace):
    found = get("tj", namespace=namespace) + get("pods", namespace=namespace) + get("services", namespace=namespace)
    return {f"{o['kind']}/{o['metadata']['name']}": version(o) for o in found}


def version(found):
    """What changes when anyone writes to it, but for the scheduler, which says anew why a pod still has no node."""
    if found["kind"] != "Pod" or found["spec"].get("nodeName"):
        return found["metadata"]["resourceVersion"]
    return [by for by in found["metadata"]["managedFields"] if by["manager"] != "kube-scheduler"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["asked to end", "killed"])
def test_a_restart_with_nothing_changed_writes_nothing(operator, namespace, how):
    quiet()
    apply(
        job("runs", namespace),
        job("done", namespace, SOON),
        job("halted", namespace, suspend=True),
        job("waits", namespace, resources={"limits": {"nvidia.com/gpu": 100}}),
    )
    for name, phase in {"runs": "Running", "done": "Succeeded", "halted": "Queued", "waits": "Pending"}.items():
        wait_phase(name, namespace, phase)
    wait("the store of the ended job is gone", lambda: not pods("done", namespace, "rendezvous"))
    wait(
        "its store costs nothing any more",
        lambda: all("end" in s for s in status("done", namespace)["cost"]["ledger"]["stays"]),
    )
    time.sleep(PATIENCE_SECONDS + 1)  # what may wait for company is written
    before = versions(namespace)
    operator.signal(how)
    operator.start()
    wait("it leads again", operator.leads)
    wait("every job was looked at", lambda: 'paceline_reconcile_total{result="success"}' in operator.metrics())
    apply(job("fence", namespace))  # when this one runs, all that was queued before it is done
    wait_phase("fence", namespace, "Running")
    assert {k: v for k, v in versions(namespace).items() if "fence" not in k} == before
    wait("its start is told", lambda: operator.requests().get("POST", 0) >= 6)
    spent = operator.requests()
    # The fence's own: service, budget, store, two workers, the event of its start; its status, a few times.
    assert spent.get("POST", 0) == 6, spent
    assert spent.get("DELETE", 0) == 0, spent


def test_killed_in_the_middle_of_a_start_it_goes_on_where_it_was(operator, namespace):
    names = [f"mid-{i}" for i in range(20)]
    apply(*(job(name, namespace, SOON, nodes=4) for name in names))
    operator.signal(signal.SIGKILL)
    operator.start()
    wait("all succeed", lambda: all(status(n, namespace).get("phase") == "Succeeded" for n in names), 120)
    for name in names:
        made = [p["metadata"]["name"] for p in pods(name, namespace)]
        assert sorted(made) == [f"{name}-1-{i}-0" for i in range(4)], "none lost, none twice"


def test_the_standby_takes_over(operator, standby, namespace):
    standby.start()
    wait("the standby stands by", lambda: "paceline_leader 0.0" in standby.metrics())
    operator.signal(signal.SIGKILL)
    wait("the standby leads", lambda: "paceline_leader 1.0" in standby.metrics(), 40)
    apply(job("after", namespace, SOON))
    wait_phase("after", namespace, "Succeeded")
    standby.stop()
    operator.start()
    wait("a lease that was given back is taken at once", operator.leads)


def test_metrics_and_probes(operator, namespace):
    apply(job("counted", namespace, SOON))
    wait_phase("counted", namespace, "Succeeded")
    text = operator.metrics()
    for name in (
        "paceline_reconcile_total", "paceline_reconcile_duration_seconds_bucket", "paceline_workqueue_depth",
        "paceline_workqueue_adds_total", "paceline_workqueue_latency_seconds_bucket", "paceline_api_requests_total",
        'paceline_watch_age_seconds{resource="pods"}', "paceline_loop_lag_seconds",
    ):  # fmt: skip
        assert name in text
    for path in ("healthz", "readyz"):
        assert urllib.request.urlopen(operator.metrics_url.replace("metrics", path), timeout=5).status == 200


# -- progress --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_jobs(operator, tls, namespace):
    """(reporter, tokens by job): each token is what the job's first worker would find in its volume."""
    apply(job("mine", namespace), job("other", namespace))
    tokens = {}
    for name in ("mine", "other"):
        wait_phase(name, namespace, "Running")
        uid = get("tj", name, namespace)["metadata"]["uid"]
        tokens[name] = token(pods(name, namespace)[0], namespace, f"paceline.dev/job/{uid}")
    return Reporter(operator, tls, namespace), tokens


def body(percent=40, step=40):
    metrics = [
        {"name": "current_step", "value": str(step)},
        {"name": "total_steps", "value": "100"},
        {"name": "loss", "value": "0.25"},
    ]
    return {"trainerStatus": {"progressPercentage": percent, "estimatedRemainingSeconds": 75, "metrics": metrics}}


def test_a_report_arrives_in_the_status(two_jobs, namespace):
    reporter, tokens = two_jobs
    assert reporter.post("mine", tokens["mine"], body()) == (200, {"everySeconds": 2})
    progress = wait("progress", lambda: status("mine", namespace).get("progress"))
    assert (progress["percent"], progress["step"], progress["totalSteps"], progress["etaSeconds"]) == (
        "40.0",
        40,
        100,
        75,
    )
    row = kubectl("get", "tj", "mine", "-n", namespace).splitlines()[1].split()
    assert row[3:6] == ["40.0", "1m15s", "0.25"]


def test_one_job_cannot_write_anothers_status(two_jobs, namespace):
    reporter, tokens = two_jobs
    assert reporter.post("other", tokens["mine"], body())[0] == 403
    assert reporter.post("no-such-job", tokens["mine"], body())[0] == 403
    assert reporter.post("mine", "", body())[0] == 401
    assert reporter.post("mine", "nonsense", body())[0] == 403
    for name in ("mine", "other"):
        assert "progress" not in status(name, namespace)


def test_a_token_of_a_foreign_pod_or_of_no_pod_is_refused(two_jobs, namespace):
    reporter, _ = two_jobs
    uid = get("tj", "mine", namespace)["metadata"]["uid"]
    outsider = pods("other", namespace)[0]
    forged = token(outsider, namespace, f"paceline.dev/job/{uid}")
    assert reporter.post("mine", forged, body())[0] == 403
    unbound = kubectl("create", "token", "default", "-n", namespace, f"--audience=paceline.dev/job/{uid}").strip()
    assert reporter.post("mine", unbound, body())[0] == 403


def test_bad_and_large_and_too_many_reports_are_refused(two_jobs):
    reporter, tokens = two_jobs
    code, said = reporter.post("mine", tokens["mine"], {"trainerStatus": {"progressPercentage": 300}})
    assert code == 400
    assert "progressPercentage" in said
    assert reporter.post("mine", tokens["mine"], b"x" * 100_000)[0] == 413
    codes = [reporter.post("other", tokens["other"], body())[0] for _ in range(40)]
    assert codes[0] == 200
    assert 429 in codes


def test_a_token_dies_with_its_pod(two_jobs, namespace):
    reporter, tokens = two_jobs
    assert reporter.post("mine", tokens["mine"], body())[0] == 200
    patch("mine", namespace, suspend=True)
    wait_phase("mine", namespace, "Suspended")
    assert reporter.post("mine", tokens["mine"], body())[0] == 403, "though its review is still remembered"

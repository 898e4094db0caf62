"""Every transition of a TrainingJob on a real API server; kwok plays the kubelets."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime

import pytest

from paceline.plan.pace import PATIENCE_SECONDS
from tests.kube import apply, condition, get, job, kubectl, leftovers, patch, pods, quiet, status, wait, wait_phase

SOON = {"kwok.paceline.dev/complete-after": "2s"}
FAILS = {"kwok.paceline.dev/fail-after": "1s"}

pytestmark = pytest.mark.usefixtures("operator")


def seconds(since, until):
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def finished(pod):
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]


def test_a_happy_life_within_eighteen_writes_and_no_reads(operator, namespace):
    quiet()
    before = operator.requests()
    apply(job("happy", namespace, SOON, nodes=8))
    ended = wait_phase("happy", namespace, "Succeeded")
    wait("the store's pod is gone", lambda: not pods("happy", namespace, "rendezvous"))
    # What is told of an end follows its write.
    wait("its end is told", lambda: operator.requests().get("POST", 0) - before.get("POST", 0) >= 13)
    after = operator.requests()
    # The lease is renewed by a GET and a PUT every two seconds; nothing else of ours uses them.
    spent = {verb: after.get(verb, 0) - before.get(verb, 0) for verb in ("POST", "PATCH", "DELETE", "GET", "PUT")}
    # Service, disruption budget, store, eight workers, two events; four patches; the store's end. Where its pods start or end
    # slowly, the status tells of some of them in between; times are of whole seconds.
    made, done = (
        get("tj", "happy", namespace)["metadata"]["creationTimestamp"],
        min(map(finished, pods("happy", namespace))),
    )
    start, end = seconds(made, ended["runningTime"]), seconds(done, ended["completionTime"])
    in_between = (start + 1) // PATIENCE_SECONDS + (end + 1) // PATIENCE_SECONDS
    assert (spent["POST"], spent["DELETE"]) == (13, 1), spent
    assert spent["PATCH"] <= 4 + in_between, spent
    assert abs(spent["GET"] - spent["PUT"]) <= 1, f"reads that are not the lease's: {spent}"
    assert condition(ended, "Complete")["status"] == "True"
    assert (ended["nodes"]["desired"], ended["attempt"]) == (8, 1)
    assert ended["startTime"] <= ended["runningTime"] <= ended["completionTime"]
    kubectl("wait", "--for=condition=Ready", "tj/happy", "-n", namespace, "--timeout=5s")


def test_in_a_namespace_that_is_deleted_nothing_is_replaced(operator):
    """The API server takes its pods away one by one, and refuses any in their place."""

    def refused():
        found = re.search(r'paceline_api_requests_total{code="403",verb="POST"} (\S+)', operator.metrics())
        return float(found[1]) if found else 0.0

    name, jobs = "going", [f"gang-{n}" for n in range(5)]
    kubectl("create", "namespace", name)
    apply(*(job(each, name, nodes=8) for each in jobs))
    for each in jobs:
        wait_phase(each, name, "Running")
    before = refused()
    kubectl("delete", "namespace", name, "--timeout=60s")
    # Each job is told once, of all that it asked for then: a worker as a rule, or all of them with the Service and the budget.
    told = Counter(re.findall(rf"\[{name}/(\S+)\] .* because it is being terminated", operator.log()))
    assert set(told.values()) == {1}, told
    assert refused() - before <= 10 * len(jobs), "more than all that there is"


def test_what_kubectl_shows(namespace):
    apply(job("shown", namespace))
    wait_phase("shown", namespace, "Running")
    head, row = kubectl("get", "tj", "shown", "-n", namespace, "-o", "wide").splitlines()
    assert head.split() == [
        "NAME",
        "PHASE",
        "NODES",
        "PROGRESS",
        "ETA",
        "LOSS",
        "COST",
        "RESTARTS",
        "AGE",
        "ATTEMPT",
        "FORECAST",
        "GOODPUT",
        "CHECKPOINT",
        "MESSAGE",
    ]
    assert row.split()[1:3] == ["Running", "2/2"]
    assert "2 of 2 workers run" in row


def test_what_a_worker_gets(namespace):
    apply(job("env", namespace, rendezvous={"conf": {"use_libuv": "0"}}, network={"profile": "tcp"}))
    wait_phase("env", namespace, "Running")
    worker = pods("env", namespace)[0]
    env = {e["name"]: e.get("value") for e in worker["spec"]["containers"][0]["env"]}
    assert env["PET_NNODES"] == "2:2"
    assert env["PET_RDZV_ENDPOINT"] == f"env-rdzv.{namespace}.svc:29400"
    assert env["PET_RDZV_ID"].endswith("-1")
    assert "use_libuv=0" in env["PET_RDZV_CONF"]
    assert "is_host=0" in env["PET_RDZV_CONF"]
    assert env["NCCL_IB_DISABLE"] == "1"
    assert env["KUBEFLOW_TRAINER_SERVER_URL"].startswith("https://localhost:")
    owner = worker["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("TrainingJob", True, True)
    assert "BEGIN CERTIFICATE" in worker["metadata"]["annotations"]["paceline.dev/progress-ca"]


def test_unschedulable_says_why_and_goes_on_when_there_is_room(namespace):
    apply(job("huge", namespace, resources={"limits": {"nvidia.com/gpu": 100}}))
    found = wait(
        "why",
        lambda: (
            "Insufficient nvidia.com/gpu" in status("huge", namespace).get("message", "") and status("huge", namespace)
        ),
    )
    assert found["phase"] == "Pending"
    assert condition(found, "Running")["reason"] == "Unschedulable"


def test_a_failing_gang_restarts_and_then_fails_with_the_reason(namespace):
    apply(job("fails", namespace, FAILS, restarts={"max": 3}))
    found = wait_phase("fails", namespace, "Failed", seconds=150)
    assert condition(found, "Failed")["reason"] == "MaxRestartsExceeded"
    assert found["restarts"]["job"] == 3
    assert found["attempt"] == 4
    assert found["lastFailure"]["exitCode"] == 1
    assert "made to fail by kwok" in found["lastFailure"]["message"]

    def told():
        found = get("events", namespace=namespace)
        return [e["reason"] for e in found if e["involvedObject"]["kind"] == "TrainingJob"]

    wait("the end is told, after the status", lambda: "MaxRestartsExceeded" in told())
    assert told().count("Restarting") == 3
    assert told().count("MaxRestartsExceeded") == 1


def test_suspend_ends_all_pods_and_resume_starts_again(namespace):
    apply(job("pause", namespace))
    wait_phase("pause", namespace, "Running")
    patch("pause", namespace, suspend=True)
    found = wait_phase("pause", namespace, "Suspended")
    assert condition(found, "Suspended")["status"] == "True"
    assert pods("pause", namespace) == pods("pause", namespace, "rendezvous") == []
    patch("pause", namespace, suspend=False)
    assert wait_phase("pause", namespace, "Running")["attempt"] == 2


def test_suspended_from_birth(namespace):
    apply(job("later", namespace, suspend=True))
    found = wait_phase("later", namespace, "Queued")
    assert condition(found, "Suspended")["status"] == "True"
    assert pods("later", namespace) == []
    patch("later", namespace, suspend=False)
    wait_phase("later", namespace, "Running")


def test_kubectl_scale(namespace):
    apply(job("grow", namespace))
    wait_phase("grow", namespace, "Running")
    kubectl("scale", "tj/grow", "-n", namespace, "--replicas=3")
    found = wait(
        "three run", lambda: status("grow", namespace)["nodes"]["summary"] == "3/3" and status("grow", namespace)
    )
    assert (found["attempt"], found["restarts"]["job"]) == (2, 0)
    scale = json.loads(
        kubectl("get", "--raw", f"/apis/paceline.dev/v1alpha1/namespaces/{namespace}/trainingjobs/grow/scale")
    )
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    selected = get("pods", namespace=namespace, selector=scale["status"]["selector"])
    assert len([p for p in selected if "deletionTimestamp" not in p["metadata"]]) == 3


@pytest.mark.parametrize(("policy", "left"), [("Running", 2), ("All", 0), ("None", 2)])
def test_clean_pod_policy(namespace, policy, left):
    apply(job("cleans", namespace, SOON, cleanPodPolicy=policy))
    wait_phase("cleans", namespace, "Succeeded")
    wait(
        "the pods are as asked",
        lambda: len(pods("cleans", namespace)) == left and not pods("cleans", namespace, "rendezvous"),
    )


def test_time_to_live(namespace):
    apply(job("brief", namespace, SOON, ttlSecondsAfterFinished=1))
    wait("job and pods are gone", lambda: leftovers(namespace) == [])


def test_active_deadline(namespace):
    apply(job("slow", namespace, deadlines={"activeSeconds": 2}))
    found = wait_phase("slow", namespace, "Failed")
    assert condition(found, "Failed")["reason"] == "DeadlineExceeded"
    wait("its pods are ended", lambda: pods("slow", namespace) == [])


def test_an_unknown_recipe_fails_before_any_pod(namespace):
    wrong = job("recipe", namespace, recipe={"name": "image-classification", "params": {"epoch": 3}})
    del wrong["spec"]["command"]
    apply(wrong)
    found = wait_phase("recipe", namespace, "Failed")
    assert condition(found, "Failed")["reason"] == "InvalidRecipe"
    assert "epochs" in found["message"]
    assert pods("recipe", namespace) == []


def test_a_template_that_the_api_server_refuses_becomes_a_condition_and_can_be_mended(namespace):
    wrong = job("template", namespace)
    wrong["spec"]["template"]["spec"]["volumes"] = [{"name": "Not A Name", "emptyDir": {}}]
    apply(wrong)
    found = wait(
        "the condition", lambda: condition(status("template", namespace), "Running").get("reason") == "InvalidTemplate"
    )
    assert found
    assert "Not A Name" in status("template", namespace)["message"]
    wrong["spec"]["template"]["spec"]["volumes"] = []
    apply(wrong)
    wait_phase("template", namespace, "Running")


@pytest.mark.parametrize("phase", ["Pending", "Running", "Recovering", "Queued", "Succeeded", "Failed"])
def test_deletion_in_every_phase_leaves_nothing(namespace, phase):
    made = {
        "Pending": job("gone", namespace, resources={"limits": {"nvidia.com/gpu": 100}}),
        "Running": job("gone", namespace),
        "Recovering": job("gone", namespace, FAILS),
        "Queued": job("gone", namespace, suspend=True),
        "Succeeded": job("gone", namespace, SOON),
        "Failed": job("gone", namespace, deadlines={"activeSeconds": 1}),
    }[phase]
    apply(made)
    wait_phase("gone", namespace, phase)
    kubectl("delete", "tj", "gone", "-n", namespace)
    wait("nothing is left", lambda: leftovers(namespace) == [])


def test_a_namesake_is_another_job(namespace):
    apply(job("again", namespace))
    wait_phase("again", namespace, "Running")
    first = get("tj", "again", namespace)["metadata"]["uid"]
    kubectl("delete", "tj", "again", "-n", namespace)
    apply(job("again", namespace, SOON))
    wait_phase("again", namespace, "Succeeded")
    owners = {p["metadata"]["ownerReferences"][0]["uid"] for p in pods("again", namespace)}
    assert first not in owners


def test_fifty_jobs_at_once(namespace):
    names = [f"many-{i}" for i in range(50)]
    apply(*(job(name, namespace, SOON, nodes=4) for name in names))

    def all_done() -> bool:
        found = get("tj", namespace=namespace)
        return [j for j in found if j.get("status", {}).get("phase") == "Succeeded"] == found and len(found) == 50

    wait("all succeed", all_done, 120)
    counts = [len(pods(name, namespace)) for name in names[::10]]
    assert counts == [4] * 5, "no lost and no doubled pod"

"""The comparison with peers: that all get the same workers, and that its results are told as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench import comparison, picture
from bench.figures import Spread
from bench.peers import build
from bench.peers.install import without_pods
from bench.peers.system import COMMAND, IMAGE, REQUESTS
from bench.peers.systems import BASE, SYSTEMS
from bench.seen import Workers
from devcluster import paths
from paceline.kube.reflector import INITIAL_EVENTS_END
from tests.kube import KWOK_TOLERATION

Json = dict[str, Any]
PODS = 8


def _workers(body: Json) -> list[tuple[int, Json]]:
    """Of each part of a job: how many pods, and their template."""
    spec = body["spec"]
    match body["kind"]:
        case "Pod":
            return [(1, body)]
        case "Job":
            return [(spec["parallelism"], spec["template"])]
        case "JobSet":
            return [one for job in spec["replicatedJobs"] for one in _workers({"kind": "Job"} | job["template"])]
        case "PyTorchJob":
            return [(of["replicas"], of["template"]) for of in spec["pytorchReplicaSpecs"].values()]
        case "TrainJob":
            trainer = spec["trainer"]
            # The toleration is the runtime's.
            return [(trainer["numNodes"], _template(trainer, trainer["resourcesPerNode"], [KWOK_TOLERATION]))]
        case "TrainingJob":
            return [(spec["nodes"], _template(spec, spec["resources"], spec["template"]["spec"]["tolerations"]))]
    raise AssertionError(body["kind"])


def _template(of: Json, resources: Json, tolerations: list[Json]) -> Json:
    container = {"image": of["image"], "command": of["command"], "resources": resources}
    return {"spec": {"containers": [container], "tolerations": tolerations}}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_asked_for_the_same_workers(name: str) -> None:
    parts = [one for _, body in SYSTEMS[name]().objects("job-0", "all-0", PODS) for one in _workers(body)]
    assert sum(count for count, _ in parts) == PODS
    for _, template in parts:
        (container,) = template["spec"]["containers"]
        assert (container["image"], container["command"], container["resources"]) == (IMAGE, COMMAND, REQUESTS)
        assert template["spec"]["tolerations"] == [KWOK_TOLERATION]


@pytest.mark.parametrize("name", SYSTEMS)
def test_objects_go_where_they_say_that_they_belong(name: str) -> None:
    for path, body in SYSTEMS[name]().objects("job-0", "all-0", PODS):
        root = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
        assert path == f"{root}/namespaces/all-0/{body['kind'].lower()}s"
        assert body["metadata"]["namespace"] == "all-0"


def test_the_program_that_go_mod_has_is_of_the_version_that_is_said():
    module, version, _ = build.JOBSET
    go_mod = (paths.PROJECT / "bench/peers/go.mod").read_text(encoding="utf-8")
    assert f"tool {module}\n" in go_mod
    assert f"\t{module} {version} " in go_mod


def test_what_is_raised_says_its_flags_and_nothing_else_does():
    assert {name for name, make in SYSTEMS.items() if make().raised} == {n for n in SYSTEMS if n.endswith("-raised")}


def test_a_published_service_leads_to_a_process_and_what_only_pods_need_is_left_out():
    hook = {"name": "v", "clientConfig": {"service": {"name": "s", "namespace": "system", "path": "/validate"}}}
    published = [
        {"kind": "Deployment", "metadata": {"name": "d"}},
        {"kind": "CustomResourceDefinition", "metadata": {"name": "c"}},
        {"kind": "Secret", "metadata": {"name": "x"}},
        {"kind": "Service", "metadata": {"name": "metrics"}, "spec": {"ports": [{"port": 8443}], "selector": {}}},
        {
            "kind": "Service",
            "metadata": {"name": "s"},
            "spec": {
                "ports": [{"name": "m", "port": 8080}, {"name": "w", "port": 443, "targetPort": 9}],
                "selector": {"a": "b"},
            },
        },
        {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "v"}, "webhooks": [hook]},
    ]
    found = without_pods(published, "its", 9443, {"tls.crt": "x"})
    kinds, secret, service, endpoints, webhooks = found
    assert kinds == published[1]
    assert secret["data"] == {"tls.crt": "x"}
    assert "selector" not in service["spec"], "else the control plane looks for its pods"
    assert (service["metadata"]["namespace"], service["spec"]["ports"][0]["port"]) == ("its", 443)
    assert endpoints["metadata"]["labels"] == {"kubernetes.io/service-name": "s"}
    assert endpoints["ports"] == [{"name": "w", "port": 9443, "protocol": "TCP"}], "by the port's name they are found"
    assert webhooks["webhooks"][0]["clientConfig"]["service"]["namespace"] == "its"


class _Cluster:
    """An API server that says what a test has prepared."""

    def __init__(self, *events: tuple[str, str, str]) -> None:
        self._events = events

    async def watch(self, path: str, seconds: int, **params: str) -> AsyncIterator[Json]:
        nothing_is_there = {"resourceVersion": "1", "annotations": {INITIAL_EVENTS_END: "true"}}
        yield {"type": "BOOKMARK", "object": {"metadata": nothing_is_there}}
        for version, (kind, name, phase) in enumerate(self._events, 2):
            meta = {"namespace": "n", "name": name, "resourceVersion": str(version), "labels": {"job": "j"}}
            yield {"type": kind, "object": {"metadata": meta, "status": {"phase": phase}}}
        await asyncio.sleep(3600)


async def test_a_worker_that_comes_back_under_its_name_is_a_second_one():
    events = [("ADDED", "a", ""), ("MODIFIED", "a", "Running"), ("DELETED", "a", "Running"), ("ADDED", "a", "Pending")]
    async with Workers(_Cluster(*events), "job", "job") as seen:  # type: ignore[arg-type]
        await seen.until_there_are("n/j", 2)
        assert seen.alive == {"n/j": {"a"}}
        assert list(seen.running["n/j"]) == ["a"]
        assert seen.last() == seen.born["n/j"][1] > seen.born["n/j"][0]


def _results(*runs: dict[str, tuple[dict[str, float], list[str]]]) -> Json:
    def system(figures: dict[str, float], notes: list[str]) -> Json:
        return {"figures": figures, "notes": notes, "writes": {"POST pods": 8.0, "PUT x": 0.01}}

    return {"runs": [{"systems": {name: system(*of) for name, of in run.items()}} for run in runs]}


RESULTS = _results(
    {BASE: ({"pods a second": 100.0, "memory": 80.0}, []), "slow": ({"pods a second": 5.0}, [])},
    {BASE: ({"pods a second": 300.0, "memory": 80.0}, []), "slow": ({}, ["all jobs at once: 9 of 16 pods after 9 s"])},
)


def test_a_figure_that_one_run_lacks_is_of_the_others():
    found = comparison.by_system(RESULTS)
    assert found[BASE]["pods a second"] == Spread(200.0, pytest.approx(141.4, abs=0.1), 100.0, 300.0)
    assert found["slow"] == {"pods a second": Spread(5.0, 0.0, 5.0, 5.0)}


def test_the_table_has_ratios_and_tells_what_did_not_come():
    lines = list(comparison.table(RESULTS))
    assert lines[2].startswith(f"| {BASE} | 200 ± 1.4e+02 | - |")
    assert lines[3].startswith("| slow | 5 (0.025×) | - |")
    assert lines[3].count("|") == lines[0].count("|") == len(comparison.COLUMNS) + 2
    assert lines[4:] == ["\nRun 2, slow: all jobs at once: 9 of 16 pods after 9 s."]


def test_writes_that_are_hardly_any_are_not_told():
    assert list(comparison.writes(RESULTS)) == [f"- {BASE}: 8.0 POST pods", "- slow: 8.0 POST pods"]


def test_the_same_results_are_the_same_picture(tmp_path):
    for name in ("a.svg", "b.svg"):
        picture.draw_versus(RESULTS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()

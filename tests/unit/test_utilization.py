"""The use of devices: from Prometheus' answers to jobs, in every style of labels and units."""

from __future__ import annotations

import pytest

from paceline.controller.controller import Controller
from paceline.controller.metrics import Metrics
from paceline.controller.utilization import (
    FRESH_SECONDS,
    AnswerError,
    Series,
    join,
    lacks,
    noticeable,
    parse,
    with_devices,
)
from paceline.cost.lookup import Amounts
from paceline.plan.observed import Container, Measured, PodRecord
from paceline.render.pods import Installation

NOW = 1_800_000_000.0
ACTIVE, UTIL = Series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1), Series("DCGM_FI_DEV_GPU_UTIL", 100)
# The workload's labels are the exporter's own (honor_labels, or a target without such labels), or lost against the target's.
PLAIN = {"namespace": "team", "pod": "a-1-0", "container": "trainer", "gpu": "0"}
EXPORTED = {
    "namespace": "gpu-operator",
    "pod": "dcgm-x",
    "exported_namespace": "team",
    "exported_pod": "a-1-0",
    "gpu": "0",
}
ONE_LOST = {"namespace": "team", "pod": "dcgm-x", "exported_pod": "a-1-0", "gpu": "0"}


def answer(*devices):
    """Of (labels, value, how long ago)."""
    result = [
        {"metric": labels, "values": [[NOW - ago - 30, "0.01"], [NOW - ago, str(value)]]}
        for labels, value, ago in devices
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def worker(name="a-1-0", uid="A", since=NOW - 600, **fields):
    container, asks = Container(running_since=since), Amounts(gpus=1)
    return PodRecord(
        namespace="team", name=name, uid=f"uid-{name}", resource_version=1, job_name=uid.lower(), job_uid=uid, attempt=1,
        index=0, phase="Running", created_at=NOW - 700, **{"role": "worker", "container": container, "asks": asks} | fields,
    )  # fmt: skip


@pytest.mark.parametrize("labels", [PLAIN, EXPORTED, ONE_LOST], ids=["plain", "exported", "one lost"])
@pytest.mark.parametrize(("series", "value"), [(ACTIVE, 0.75), (UTIL, 75)])
def test_both_styles_of_labels_and_of_units(labels, series, value):
    found = parse(answer((labels, value, 10)), series)
    assert join([worker()], found, {}, NOW) == {"A": Measured(0.75, series.name, NOW - 10)}


def test_a_job_is_the_mean_of_its_devices_and_as_old_as_the_oldest():
    devices = [(PLAIN | {"gpu": str(n), "pod": pod}, share, ago) for n, (pod, share, ago) in enumerate(
        [("a-1-0", 0.9, 5), ("a-1-0", 0.5, 5), ("a-1-1", 0.1, 40), ("b-1-0", 0.3, 1)]
    )]  # fmt: skip
    pods = [worker(), worker("a-1-1"), worker("b-1-0", "B"), worker("c-1-0", "C")]
    found = join(pods, parse(answer(*devices), ACTIVE), {}, NOW)
    assert found["A"] == Measured(pytest.approx(0.5), ACTIVE.name, NOW - 40)
    assert found["B"].utilization == 0.3
    assert "C" not in found, "nothing tells of its devices"


def test_the_series_that_reads_100_in_a_hung_collective_is_only_for_pods_without_the_other():
    active = parse(answer((PLAIN, 0.0, 5)), ACTIVE)
    fallback = parse(answer((PLAIN, 100, 5), (PLAIN | {"pod": "a-1-1"}, 60, 5)), UTIL)
    assert not lacks([worker()], active)
    assert lacks([worker(), worker("a-1-1")], active)
    assert join([worker()], active, fallback, NOW)["A"].utilization == 0
    both = join([worker(), worker("a-1-1")], active, fallback, NOW)["A"]
    assert both.utilization == pytest.approx(0.3)
    assert both.source == f"{UTIL.name} and {ACTIVE.name}"


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1.5", "9223372036854775794"])
def test_what_is_no_share_is_left_out_and_not_made_one(value):
    assert join([worker()], parse(answer((PLAIN, value, 5)), ACTIVE), {}, NOW) == {}


def test_old_samples_and_those_of_an_earlier_pod_of_that_name_are_not_used():
    found = parse(answer((PLAIN, 0.5, 100)), ACTIVE)
    assert join([worker()], found, {}, NOW)
    assert join([worker()], found, {}, NOW + FRESH_SECONDS - 100)
    assert not join([worker()], found, {}, NOW + FRESH_SECONDS - 99)
    assert not join([worker(since=NOW - 99)], found, {}, NOW)


def test_a_device_that_no_pod_has_is_nobodys():
    assert parse(answer(({"gpu": "0", "Hostname": "n1"}, 0.5, 5)), ACTIVE) == {}


def test_only_workers_that_run_and_have_devices_are_asked_for():
    pods = [
        worker(),
        worker("store", role="rendezvous"),
        worker("waits", container=Container()),
        worker("no-gpu", asks=Amounts(cpus=1)),
        worker("ends", deleting=True),
    ]
    assert [pod.name for pod in with_devices(pods)] == ["a-1-0"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "parse error at char 3"}, "parse error at char 3"),
        ([], "no answer of Prometheus' API"),
        (
            {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}]}},
            "matrix",
        ),
    ],
)
def test_what_is_no_answer_is_said(wrong, said):
    with pytest.raises(AnswerError, match=said):
        parse(wrong, ACTIVE)


@pytest.mark.parametrize(
    ("before", "after", "is_one"),
    [
        (None, 0.5, True),
        (0.5, None, True),
        (None, None, False),
        (0.5, 0.54, False),
        (0.5, 0.55, True),
        (0.06, 0.04, True),
        (0.04, 0.03, False),
    ],
)
def test_what_is_noticeable(before, after, is_one):
    made = (None if share is None else Measured(share, "x", NOW) for share in (before, after))
    assert noticeable(*made, 0.05) is is_one


async def test_a_job_is_looked_at_when_its_use_moves_and_always_sees_the_newest(job_of):
    controller = Controller(None, Installation("trainer:1"), {}, Metrics())
    meta = job_of().metadata.wire()
    controller.job_event({"metadata": meta, "spec": {"image": "x", "command": ["y"], "nodes": 1}}, deleted=False)

    async def look(*shares):
        """How often the job is looked at while its utilization is told to be these."""
        count = 0
        for share in shares:
            controller.use_measured({} if share is None else {"job-uid": Measured(share, "x", NOW)})
            if len(controller.queue):
                count += 1
                key, _ = await controller.queue.take()
                controller.queue.done(key)
        return count

    key, _ = await controller.queue.take()
    controller.queue.done(key)
    assert await look(0.5, 0.52, 0.54) == 1
    assert controller._observe(controller._jobs["job-uid"]).measured == Measured(0.54, "x", NOW)
    assert await look(0.56) == 1, "small steps add up"
    assert await look(None, None) == 1
    assert controller._observe(controller._jobs["job-uid"]).measured is None

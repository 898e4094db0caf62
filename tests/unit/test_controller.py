"""Small decisions around the loop."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.controller import records
from paceline.controller.controller import Controller, merge_patch
from paceline.controller.metrics import Metrics
from paceline.kube.client import ApiError
from paceline.plan.urgency import comes_up, may_wait
from paceline.render.pods import Installation

JSON = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=2), JSON, max_size=4)


def apply_merge_patch(target, patch):
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = apply_merge_patch(out.get(key), value)
    return out


@given(old=OBJECTS, new=OBJECTS)
def test_a_merge_patch_makes_the_new_of_the_old_and_is_empty_for_equals(old, new):
    assert apply_merge_patch(old, merge_patch(old, new)) == new
    assert merge_patch(new, new) == {}


def pod(**status):
    labels = {
        "paceline.dev/role": "worker",
        "paceline.dev/job-name": "j",
        "paceline.dev/job-uid": "u",
        "paceline.dev/attempt": "2",
    }
    meta = {
        "name": "p",
        "namespace": "n",
        "uid": "x",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T10:00:00Z",
        "labels": labels,
    }
    return {"metadata": meta, "spec": {"nodeName": "n1"}, "status": status}


def test_a_record_keeps_what_decisions_need():
    states = [
        {"name": "sidecar", "state": {"running": {"startedAt": "2026-11-23T10:00:01Z"}}},
        {
            "name": "trainer",
            "state": {"terminated": {"exitCode": 3, "startedAt": "2026-11-23T10:00:01Z", "message": "bad"}},
        },
    ]
    record = records.pod(pod(phase="Running", containerStatuses=states))
    assert (record.attempt, record.node, record.container.exit_code, record.container.message) == (2, "n1", 3, "bad")
    assert record.failed
    assert not record.ended, "its sidecar still runs"


def test_an_init_container_that_waits_is_the_reason():
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    record = records.pod(
        pod(
            initContainerStatuses=[{"name": "init", "state": waiting}],
            containerStatuses=[{"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}],
        )
    )
    assert record.container.waiting_reason == "ImagePullBackOff"


def test_somebody_elses_pod_is_left_out():
    assert (
        records.pod(
            {"metadata": {"name": "x", "namespace": "n", "labels": {"paceline.dev/role": "worker"}}, "spec": {}}
        )
        is None
    )


class Server:
    """Refuses the first status that it is sent, as one that was made from an older version."""

    def __init__(self, job):
        self.job, self.refused, self.events, self.written = job, 0, [], asyncio.Event()

    async def create(self, path, body):
        if path.endswith("/events"):
            self.events.append(body["reason"])
        return body

    async def merge_patch(self, path, patch):
        if not self.refused:
            self.refused += 1
            raise ApiError(409, "Conflict", "the object has been modified")
        self.written.set()
        self.answer = {**self.job, "status": patch["status"]}
        self.answer["metadata"] = {
            **self.job["metadata"],
            "resourceVersion": str(patch["metadata"]["resourceVersion"]) + "0",
        }
        return self.answer


async def test_events_are_told_once_though_a_status_is_refused(job_of):
    meta = {"name": "job", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1}
    volume = {"volume": {"emptyDir": {}}, "everySteps": 5}
    spec = {"image": "torch:1", "command": ["torchrun"], "checkpoint": volume}
    job = {"metadata": {**meta, "creationTimestamp": "2026-11-23T10:00:00Z"}, "spec": spec, "status": {}}
    server = Server(job)
    controller = Controller(server, Installation("trainer:1"), {}, Metrics(), lambda: 1_800_000_000.0)
    async with asyncio.timeout(10):
        work = asyncio.create_task(controller.run())
        controller.job_event(job, deleted=False)
        while not server.refused:
            await asyncio.sleep(0)
        assert server.events == []
        controller.job_event({**job, "metadata": {**job["metadata"], "resourceVersion": "2"}}, deleted=False)
        await server.written.wait()
        while not server.events:
            await asyncio.sleep(0)
    assert server.events == ["CheckpointsDoNotLast"]
    work.cancel()


async def test_what_it_has_written_itself_is_no_news_when_the_watch_tells_of_it():
    meta = {"name": "job", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1}
    spec = {"image": "torch:1", "command": ["torchrun"]}
    job = {"metadata": {**meta, "creationTimestamp": "2026-11-23T10:00:00Z"}, "spec": spec, "status": {}}
    server = Server(job)
    server.refused = 1
    controller = Controller(server, Installation("trainer:1"), {}, Metrics(), lambda: 1_800_000_000.0)
    controller.job_event(job, deleted=False)
    async with asyncio.timeout(10):
        work = asyncio.create_task(controller.run())
        # It looks again by itself where more may follow from what it wrote.
        while b'paceline_reconcile_total{result="success"} 2.0' not in controller.metrics.own():
            await asyncio.sleep(0)
    work.cancel()
    assert len(controller.queue) == 0
    for known in (job, server.answer):
        controller.job_event(known, deleted=False)
        assert len(controller.queue) == 0, "as old as what is known, or older"
    changed = {**server.answer, "metadata": {**server.answer["metadata"], "resourceVersion": "99"}}
    controller.job_event(changed, deleted=False)
    assert len(controller.queue) == 1


def test_what_may_wait_for_company(world):
    world.settle()
    pending = world.job.status
    world.schedule_all()
    world.settle()
    assert may_wait(pending, world.job.status), "Starting can be seen from the pods"
    starting = world.job.status
    world.run_all()
    world.settle()
    assert not may_wait(starting, world.job.status), "Running is news"


def trainer(**state):
    return [{"name": "trainer", "state": state}]


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        ({"phase": "Pending"}, True),
        ({"phase": "Running", "containerStatuses": trainer(running={"startedAt": "2026-11-23T10:00:01Z"})}, True),
        ({"phase": "Running", "containerStatuses": trainer(terminated={"exitCode": 1})}, False),
        ({"phase": "Running", "containerStatuses": trainer(terminated={"exitCode": 0})}, False),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed", "reason": "Evicted"}, False),
        ({"phase": "Pending", "reason": "NodeLost"}, False),
        (
            {"phase": "Running", "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "Preempted"}]},
            False,
        ),
    ],
)
def test_a_pod_that_comes_up_may_wait_for_company_and_no_other(status, waits):
    assert comes_up(records.pod(pod(**status))) is waits


def test_a_pod_that_is_being_deleted_or_gone_is_looked_at_at_once():
    going = pod(phase="Running")
    going["metadata"]["deletionTimestamp"] = "2026-11-23T10:00:02Z"
    assert not comes_up(records.pod(going))
    assert not comes_up(None)


async def test_pods_that_come_up_together_are_looked_at_once():
    controller = Controller(Server(None), Installation("trainer:1"), {}, Metrics())
    meta = {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1}
    spec = {"image": "torch:1", "command": ["torchrun"]}
    job = {"metadata": {**meta, "creationTimestamp": "2026-11-23T10:00:00Z"}, "spec": spec}
    controller.job_event(job, deleted=False)
    key, _ = await controller.queue.take()
    controller.queue.done(key)
    for n in range(8):
        up = pod(phase="Pending")
        up["metadata"] |= {"name": f"p-{n}", "uid": f"x-{n}"}
        controller.pods.put(f"n/p-{n}", records.pod(up))
    assert len(controller.queue) == 0, "not yet"
    async with asyncio.timeout(10):
        key, _ = await controller.queue.take()
        controller.queue.done(key)
    assert len(controller.queue) == 0
    controller.pods.remove("n/p-3")
    assert len(controller.queue) == 1, "at once"

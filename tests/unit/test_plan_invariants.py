"""Whatever happens in whatever order, the plan converges and keeps its promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.cost.lookup import Host
from paceline.plan.urgency import may_wait
from tests.unit.conftest import WHOLE

EVENTS = [
    "schedule",
    "run",
    "fail",
    "succeed",
    "lose",
    "lose-store",
    "reap",
    "suspend",
    "resume",
    "wait",
    "scale",
    "node-lost",
    "node-back",
    "notice",
    "evict",
    "no-room",
]


ELASTIC = st.sampled_from(
    [None, {"minNodes": 1, "maxNodes": 4}, {"minNodes": 1, "maxNodes": 4, "allowedNodes": [1, 2, 4]}]
)


@given(events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=40), elastic=ELASTIC)
def test_any_history_keeps_the_promises(make_world, events, elastic):
    world = make_world(**({"elastic": elastic} if elastic else {}))
    attempts = [0]
    for what, which in events:
        finished = world.job.status.completion_time is not None
        _happen(world, what, which)
        world.settle()
        status, live = world.job.status, world.workers()
        attempts.append(status.attempt)
        assert attempts == sorted(attempts), "attempts only grow"
        assert status.restarts is None or status.restarts.job <= world.job.spec.restarts.max
        unfinished = [p for p in live if not p.failed] if status.completion_time else live
        assert len({(p.attempt, p.index) for p in unfinished}) == len(unfinished), "no worker twice"
        if not status.completion_time:
            # While it backs off, what failed meanwhile is still there to be read.
            kept = [p for p in live if p.failed] if status.restart_time else []
            here = [p for p in live if p.attempt == status.attempt and p not in kept]
            assert len(here) <= world.job.spec.nodes
            assert all(p.attempt >= status.attempt for p in live), "one generation at a time"
        assert not finished or status.completion_time is not None, "what has ended stays ended"
        ended = [c.type for c in status.conditions if c.type in ("Complete", "Failed") and c.status == "True"]
        assert (status.phase in ("Succeeded", "Failed")) == bool(ended)
        assert len(ended) <= 1
        if status.phase == "Suspended":
            assert world.pods == {}
        if status.phase == "Running":
            assert elastic or status.nodes.desired == world.job.spec.nodes
            assert not elastic or status.nodes.desired in elastic.get("allowedNodes", range(1, 5))
            assert status.active_since is not None
        assert status.failures is None or len(status.failures) <= 10


@given(
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 3)), max_size=40),
    elastic=ELASTIC,
    budget=st.sampled_from([None, "Warn", "Suspend", "Fail"]),
)
def test_nothing_follows_from_a_status_that_may_wait(make_world, events, elastic, budget):
    """So that the operator need not look again when it has written one; with prices, which a node that comes back has lost."""
    cost = {"budget": {"maxUSD": "20", "onExceed": budget}} if budget else {}
    world = make_world(cost=cost, **({"elastic": elastic} if elastic else {}))
    for name in ("n1", "n2", "n3", "n4"):
        world.set_node(name, host=Host(override="36", has=WHOLE))
    for what, which in events:
        _happen(world, what, which)
        for _ in range(20):
            before, pods, read = world.job.status, dict(world.pods), (world.seen.logs, world.seen.warnings)
            world.step()
            if world.job.status == before:
                break
            if may_wait(before, world.job.status) and (pods, read) == (
                world.pods,
                (world.seen.logs, world.seen.warnings),
            ):
                written = world.job.status
                again = world.step()
                assert (again.status, again.actions) == (written, ())


@given(order=st.permutations([0, 1, 2]))
def test_the_order_in_which_workers_end_does_not_matter(make_world, order):
    world = make_world(nodes=3)
    world.settle()
    world.run_all()
    world.settle()
    for index in order:
        world.end(f"job-1-{index}-0", 0)
        world.settle()
    assert world.job.status.phase == "Succeeded"


def _happen(world, what: str, which: int) -> None:
    workers = world.workers()
    pod = workers[which % len(workers)] if workers else None
    match what:
        case "schedule":
            world.schedule_all()
        case "run":
            world.run_all()
        case "fail" if pod and pod.running:
            world.end(pod.name, 1)
        case "succeed":
            for each in workers:
                if each.running:
                    world.end(each.name, 0)
        case "lose" if pod:
            del world.pods[pod.name]
        case "lose-store":
            world.pods.pop("job-rdzv", None)
        case "reap":
            world.reap()
        case "suspend" | "resume":
            world.set_spec(suspend=what == "suspend")
        case "wait":
            world.now += 10 ** (which + 1)
        case "scale":
            world.set_spec(nodes=(1, 2, 4, 2)[which])
        case "node-lost" | "node-back":
            world.set_node(f"n{which + 1}", ready=what == "node-back")
        case "notice":
            world.set_node(f"n{which + 1}", taints=("karpenter.sh/disrupted",))
        case "evict" if pod:
            world.change(pod.name, deleting=True, disruption="EvictionByEvictionAPI")
        case "no-room" if pod and pod.scheduled_at is None:
            world.change(pod.name, unschedulable="no room")
        case _:
            pass  # the operator keeps nothing in memory that the next step would miss

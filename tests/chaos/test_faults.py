"""One fault each: training goes on, reaches its end, and leaves the model of the undisturbed run, bit by bit."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest

from tests.chaos import faults
from tests.chaos.training import EVERY_STEPS, Training
from tests.e2e.conftest import logs
from tests.kube import kubectl, patch, pods, wait, wait_phase

SHORT = pytest.mark.short
LONG = 40  # epochs: enough to train on when the API server or a node has been away
# fault -> causes that it may be given, attempts that it may take
CASES = [
    pytest.param(faults.kill_process, None, 1, marks=SHORT),
    pytest.param(faults.crash_process, None, 1),
    pytest.param(faults.delete_worker, {"PodDeleted"}, 1, marks=SHORT),
    pytest.param(faults.delete_store, {"RendezvousLost"}, 2, marks=SHORT),
    pytest.param(faults.evict, {"NodeDrained"}, 1),
    pytest.param(faults.drain, {"NodeDrained", "RendezvousLost"}, 2),
    pytest.param(faults.notice, {"NodeDrained"}, 1),
    pytest.param(faults.cut_node, {"NodeLost"}, 2),
    pytest.param(faults.stop_node, {"NodeLost"}, 2),
    pytest.param(faults.everything_at_once, {"RendezvousLost", "PodDeleted"}, 2),
]


@pytest.mark.parametrize(("fault", "causes", "attempts"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_it_is_survived(training, undisturbed, record, fault, causes, attempts, round_):
    run = training()
    run.start()
    # Of a node that ends with the store on it a worker tells long before the cluster does.
    if fault is faults.stop_node and run.store_node() == run.node(1):
        causes = {"RendezvousLost"}
    record(fault.__name__.replace("_", " "), run.seconds_until_it_steps(lambda: fault(run)))
    ended = run.end()
    assert ended["model"]["sha256"] == undisturbed()
    assert ended["attempt"] <= attempts
    assert ended["restarts"]["job"] == 0, "none of it is the user's fault"
    assert ended["checkpoint"]["resumedFromStep"] >= 100
    if causes is None:
        assert ended["restarts"]["inPlace"] >= 1
        assert ended["restarts"]["total"] == ended["restarts"]["inPlace"]
    else:
        assert ended["lastFailure"]["cause"] in causes
        assert ended["restarts"]["infrastructure"] >= 1


def test_memory_that_runs_out_is_the_users_matter(training, undisturbed):
    run = training()
    run.start()
    pod = run.pod(1)
    faults.run_out_of_memory(run)
    ended = run.end()
    assert (ended["lastFailure"]["cause"], ended["lastFailure"]["pod"]) == ("OutOfMemory", pod)
    assert "limits.memory" in ended["lastFailure"]["hint"]
    assert ended["restarts"]["infrastructure"] == 0
    assert ended["restarts"]["total"] >= 1
    assert ended["model"]["sha256"] == undisturbed()


@pytest.mark.parametrize("fault", [faults.cut_node, faults.stop_kubelet], ids=lambda f: f.__name__)
def test_who_comes_back_with_a_lost_node_stays_outside(training, undisturbed, fault):
    """Old pods run on, with the wire whole later or all the time, while the next attempt trains: they change nothing."""
    run = training(epochs=LONG)
    run.start()
    node = run.node(1)
    fault(run)
    wait("the next attempt trains", lambda: (run.status()["attempt"], run.status()["phase"]) == (2, "Running"), 90)
    before, uids = run.step(), [run.worker(index)["metadata"]["uid"] for index in (0, 1)]
    faults.heal_node(node)
    assert run.status()["phase"] == "Running", "else it was healed too late to tell"
    ended = run.end()
    assert ended["checkpoint"]["lastStep"] > before
    assert (ended["attempt"], ended["restarts"]["total"]) == (2, 1), "the healing itself cost nothing"
    assert ended["lastFailure"]["cause"] == "NodeLost"
    assert [run.worker(index)["metadata"]["uid"] for index in (0, 1)] == uids
    assert {json.loads((c / "manifest.json").read_text())["attempt"] for c in run.checkpoints()} == {2}
    assert ended["model"]["sha256"] == undisturbed(LONG)


@SHORT
def test_suspended_it_loses_no_step(training, undisturbed):
    run = training()
    run.start()
    patch(run.name, run.namespace, suspend=True)
    found = wait_phase(run.name, run.namespace, "Suspended", seconds=90)
    step = found["checkpoint"]["lastStep"]
    assert found["message"] == f"suspended; step {step} is saved"
    assert found["progress"]["step"] <= step, "all that was made is saved"
    patch(run.name, run.namespace, suspend=False)
    ended = run.end()
    assert ended["checkpoint"]["resumedFromStep"] == step
    assert (ended["restarts"]["total"], ended["model"]["sha256"]) == (0, undisturbed())


@SHORT
def test_an_elastic_gang_takes_a_newcomer_in(training):
    """torch 2.15 breaks here without TORCH_DISABLE_SHARE_RDZV_TCP_STORE: the newcomer would end the whole job."""
    run = training(epochs=LONG, nodes=1, elastic={"minNodes": 1, "maxNodes": 2})
    run.start()
    patch(run.name, run.namespace, nodes=2)
    wait("both run", lambda: run.status()["nodes"]["summary"] == "2/2", 90)
    ended = run.end()
    assert (ended["attempt"], ended["restarts"]["total"]) == (1, 0), "nothing failed"
    assert "world=2" in logs(run.pod(0), run.namespace) + logs(run.pod(1), run.namespace)


def test_an_elastic_gang_goes_on_with_what_is_left(training, record, round_):
    run = training(epochs=LONG // 2, elastic={"minNodes": 1, "maxNodes": 2})
    run.start()
    began = time.time()
    record("delete worker, elastic: the rest steps", run.seconds_until_it_steps(lambda: faults.delete_worker(run)))
    wait(
        "it is whole again",
        lambda: run.status()["nodes"]["summary"] == "2/2" and len(pods(run.name, run.namespace)) == 2,
        60,
    )
    record("delete worker, elastic: whole again", time.time() - began)
    ended = run.end()
    assert ended["attempt"] == 1
    assert float(next(m["value"] for m in ended["model"]["metrics"] if m["name"] == "accuracy")) > 0.97


def test_a_spoiled_checkpoint_is_passed_over(training, undisturbed):
    run = training()
    run.start()
    run.seconds_until_it_steps(lambda: faults.spoil_newest_checkpoint(run))
    ended = run.end()
    assert ended["model"]["sha256"] == undisturbed()
    assert "is skipped" in logs(run.pod(0), run.namespace) + logs(run.pod(1), run.namespace)


def test_a_full_volume_fails_the_save_and_not_the_run(training):
    """A volume of 16 MiB (memory that the kernel limits, so really full), filled and emptied while it trains."""
    small = {
        "volume": {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        "everySteps": EVERY_STEPS,
        "keep": 1,
    }
    run = training(epochs=LONG, nodes=1, checkpoint=small)
    run.apply()
    wait("it saves", lambda: run.status().get("checkpoint", {}).get("lastStep", 0) >= EVERY_STEPS, 120)
    inside = ("exec", run.pod(0), "-n", run.namespace, "-c", "trainer", "--", "sh", "-c")
    kubectl(*inside, "cat /dev/zero > /checkpoints/filler 2>/dev/null || true")
    told = wait("a failed save is told", lambda: run.status()["checkpoint"].get("error"), 60)
    assert "No space left on device" in told
    assert run.status()["phase"] == "Running"
    kubectl(*inside, "rm /checkpoints/filler")
    wait("it saves again", lambda: "error" not in run.status()["checkpoint"], 60)
    ended = run.end()
    assert (ended["attempt"], ended["restarts"]["total"]) == (1, 0)


@pytest.mark.parametrize("fault", [faults.kill_operators, faults.stop_api_server], ids=lambda f: f.__name__)
def test_training_is_not_disturbed(training, undisturbed, fault):
    run = training(epochs=2 * LONG)
    run.start()
    before, uids = run.step(), {p["metadata"]["uid"] for p in pods(run.name, run.namespace)}
    fault(run)
    assert run.step() > before, "it stepped on meanwhile"
    ended = run.end()
    assert (ended["attempt"], ended["restarts"]["total"]) == (1, 0)
    assert "resumedFromStep" not in ended["checkpoint"]
    assert ended["model"]["sha256"] == undisturbed(2 * LONG)
    assert {p["metadata"]["uid"] for p in pods(run.name, run.namespace)} == uids


def test_faults_at_random(training, request):
    """From --seed, for --minutes. What has ended by then was disturbed often enough; the rest must end in peace."""
    dice = random.Random(request.config.getoption("seed"))
    until = time.monotonic() + 60 * request.config.getoption("minutes")
    some: list[Callable[[Training], None]] = [
        faults.kill_process, faults.crash_process, faults.delete_worker, faults.delete_store, faults.evict, faults.cut_node,
        faults.everything_at_once, faults.kill_operators,
    ]  # fmt: skip
    run = training(epochs=3000, restarts={"inPlace": 100})
    run.start()
    while time.monotonic() < until:
        fault = dice.choice(some)
        before = run.step()
        print(f"{time.strftime('%H:%M:%S')} step {before}: {fault.__name__}", flush=True)
        run.seconds_until_it_steps(lambda: fault(run))  # noqa: B023 - called within the loop
        faults.mend_nodes()
        assert run.step() >= before - 2 * EVERY_STEPS, "more than the last checkpoints were lost"
        assert run.status()["restarts"]["job"] == 0
        time.sleep(dice.uniform(1, 10))
    found = run.status()
    assert found["phase"] in ("Running", "Recovering"), found

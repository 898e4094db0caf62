"""Failures and their answers, pod by pod: the restart ladder at work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline.api.status import CheckpointStatus
from paceline.plan.observed import Container, Report

TRACEBACK = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nValueError: bad'
PEER = "RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:12345"
DISCONNECTED = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{PEER}'


def next_attempt(world):
    """The back-off is over, and what was ending is gone."""
    decided = world.settle()
    world.reap()
    if world.job.status.restart_time:
        world.now = max(world.now, decided.wake_at)
    world.settle()


def test_code_that_fails_restarts_the_gang_after_a_backoff(world):
    world.start()
    world.end("job-1-1-0", 1, TRACEBACK)
    decided = world.settle()
    status = world.job.status
    assert (status.phase, status.attempt) == ("Recovering", 2)
    assert (status.restarts.job, status.restarts.infrastructure, status.restarts.since_window) == (1, 0, 1)
    assert (status.last_failure.cause, status.last_failure.pod, status.last_failure.attempt) == (
        "CodeError",
        "job-1-1-0",
        1,
    )
    assert [f.cause for f in status.failures] == ["CodeError"]
    assert world.condition("Recovering") == ("True", "CodeError")
    assert all(p.deleting for p in world.pods.values() if p.role == "worker")
    assert not world.pods["job-rdzv"].deleting, "the store serves the next attempt too"
    world.now = decided.wake_at - 1
    world.reap()
    world.settle()
    assert world.workers() == []
    world.now = decided.wake_at
    world.settle()
    assert world.names() == ["job-2-0-0", "job-2-1-0"]
    world.run_all()
    world.settle()
    assert world.job.status.phase == "Running"
    assert world.condition("Recovering")[0] == "False"


def test_the_users_failures_are_bounded(make_world):
    world = make_world(restarts={"max": 2})
    for attempt in (1, 2, 3):
        world.settle()
        assert world.job.status.attempt == attempt
        world.start()
        world.end(world.workers()[0].name, 7, f"boom {attempt}")
        next_attempt(world)
    assert world.job.status.phase == "Failed"
    assert world.condition("Failed") == ("True", "MaxRestartsExceeded")
    assert "boom 3" in world.job.status.message
    assert world.job.status.last_failure.exit_code == 7
    assert world.job.status.restarts.job == 2


def test_the_same_exception_at_the_same_step_three_times_is_enough(make_world):
    world = make_world(restarts={"max": 50})
    for attempt in (1, 2, 3):
        world.start()
        world.seen = replace(world.seen, report=Report(time=world.now, step=7, total_steps=10, attempt=attempt))
        world.settle()
        world.end(world.workers()[0].name, 1, TRACEBACK)
        world.now += 100
        next_attempt(world)
    assert world.condition("Failed") == ("True", "SameFailureAgain")
    assert "same step" in world.job.status.message


@pytest.mark.parametrize(("fields", "cause"), [
    ({"deleting": True, "disruption": "EvictionByEvictionAPI"}, "NodeDrained"),
    ({"deleting": True, "disruption": "PreemptionByScheduler"}, "Preempted"),
    ({"deleting": True}, "PodDeleted"),
    ({"phase": "Failed", "reason": "Evicted", "message": "low on ephemeral-storage"}, "Evicted"),
])  # fmt: skip
def test_a_pod_that_the_cluster_takes_is_replaced_and_the_others_stay(world, fields, cause):
    world.start()
    world.change("job-1-1-0", **fields)
    world.settle()
    status = world.job.status
    assert status.attempt == 1
    assert world.names() == ["job-1-0-0", "job-1-1-1"], "a replacement does not wait for its predecessor's name"
    assert status.last_failure.cause == cause
    assert (status.restarts.pod, status.restarts.infrastructure, status.restarts.job) == (1, 1, 0)
    assert status.phase == "Recovering"
    world.run_all()
    world.settle()
    assert status.attempt == 1
    assert world.job.status.phase == "Running"
    world.reap()
    world.settle()
    assert (world.job.status.restarts.pod, world.job.status.phase) == (1, "Running"), "counted once"


def test_a_pod_that_vanished_is_replaced(world):
    world.start()
    del world.pods["job-1-0-0"]
    world.settle()
    assert world.job.status.attempt == 1
    assert len(world.workers()) == 2
    assert (world.job.status.last_failure.cause, world.job.status.restarts.pod) == ("PodDeleted", 1)


def test_before_it_runs_a_missing_pod_is_simply_created(world):
    world.settle()
    del world.pods["job-1-0-0"]
    world.settle()
    assert world.names() == ["job-1-0-0", "job-1-1-0"]
    assert world.job.status.restarts.total == 0


@pytest.mark.parametrize("how", ["gone", "failed", "restarted"])
def test_a_lost_store_starts_a_new_generation(world, how):
    world.start()
    world.now += 10
    if how == "gone":
        del world.pods["job-rdzv"]
    elif how == "failed":
        world.change("job-rdzv", phase="Failed", reason="Evicted")
    else:
        world.change("job-rdzv", container=Container(running_since=world.now, died_at=world.now))
    world.settle()
    status = world.job.status
    assert (status.attempt, status.last_failure.cause, status.restarts.infrastructure) == (2, "RendezvousLost", 1)
    world.reap()
    world.settle()
    assert "job-rdzv" in world.pods
    assert world.names() == ["job-2-0-0", "job-2-1-0"]
    world.run_all()
    world.settle()
    assert (world.job.status.phase, world.job.status.attempt) == ("Running", 2)


def test_a_node_that_does_not_answer_is_waited_for_only_so_long(make_world):
    world = make_world(nodeLoss={"detectSeconds": 20})
    world.start()
    world.set_node("n2", ready=False)
    decided = world.settle()
    assert world.job.status.attempt == 1
    assert decided.wake_at == world.now + 20
    world.now += 20
    world.settle()
    status = world.job.status
    assert (status.attempt, status.last_failure.cause, status.last_failure.node) == (2, "NodeLost", "n2")
    assert world.graces["job-1-1-0"] == 0, "its kubelet would never confirm a graceful delete"
    assert world.graces["job-1-0-0"] == 5, "the others are told, so that two generations never write"
    assert all("n2" in action.avoid for action in world.made if action.attempt == 2)


def test_a_node_that_comes_back_in_time_changes_nothing(world):
    world.start()
    world.set_node("n2", ready=False)
    world.settle()
    world.now += 10
    world.set_node("n2")
    world.now += 100
    world.settle()
    assert (world.job.status.attempt, world.job.status.restarts.total) == (1, 0)


def test_a_pod_that_hangs_in_its_deletion_on_a_lost_node_is_forced(world):
    world.start()
    world.set_spec(suspend=True)
    world.settle()
    assert "job-1-1-0" in world.pods
    world.set_node("n2", ready=False)
    world.now += 15
    world.settle()
    assert "job-1-1-0" not in world.pods
    assert "job-1-0-0" in world.pods, "its node answers: it has its grace"


def test_a_termination_notice_moves_the_pod_with_time_to_save(world):
    world.start()
    world.set_node("n2", taints=("aws-node-termination-handler/spot-itn",))
    world.settle()
    assert world.graces == {"job-1-1-0": None}, "its full grace: it saves first"
    assert world.names() == ["job-1-0-0", "job-1-1-1"]
    assert (world.job.status.attempt, world.job.status.last_failure.cause) == (1, "NodeDrained")
    assert world.made[-1].avoid == ("n2",)


def test_ranks_that_only_noticed_are_not_blamed(world):
    world.start()
    world.end("job-1-0-0", 1, DISCONNECTED)
    decided = world.settle()
    assert world.job.status.attempt == 1, "the one to blame may yet be told of"
    assert decided.wake_at == world.now + 30
    world.now += 29
    world.end("job-1-1-0", 137, reason="OOMKilled")
    world.settle()
    assert (world.job.status.last_failure.cause, world.job.status.last_failure.pod) == ("OutOfMemory", "job-1-1-0")


def test_ranks_that_only_noticed_are_answered_when_nobody_is_left_to_say_why(world):
    world.start()
    world.end("job-1-0-0", 1, DISCONNECTED)
    world.settle()
    assert world.job.status.attempt == 1
    world.end("job-1-1-0", 1, DISCONNECTED)
    world.settle()
    assert (world.job.status.attempt, world.job.status.last_failure.cause) == (2, "CollectiveTimeout")


def test_who_never_says_why_is_not_waited_for_for_ever(world):
    world.start()
    world.end("job-1-0-0", 1, DISCONNECTED)
    world.now += 30
    world.settle()
    assert (world.job.status.attempt, world.job.status.last_failure.cause) == (2, "CollectiveTimeout")


def test_a_log_is_read_however_late_its_end_is_told(world):
    world.start()
    world.printed["job-1-0-0"] = TRACEBACK
    world.end("job-1-0-0", 1, "the last lines, without what was raised")
    world.now += 60
    world.settle()
    assert world.job.status.last_failure.cause == "CodeError"


def test_the_logs_of_a_large_gang_are_all_read(make_world):
    world = make_world(nodes=9)
    for number in range(1, 10):
        world.set_node(f"n{number}")
    world.start()
    world.printed["job-1-8-0"] = TRACEBACK
    for name in world.names():
        world.end(name, 1, DISCONNECTED if name != "job-1-8-0" else "the last lines, without what was raised")
    world.settle()
    assert (world.job.status.last_failure.cause, world.job.status.last_failure.pod) == ("CodeError", "job-1-8-0")


def test_an_aftermath_is_not_counted_again(world):
    world.start()
    world.change("job-1-1-0", deleting=True, disruption="EvictionByEvictionAPI")
    world.settle()
    world.run_all()
    world.settle()
    world.now += 5
    world.end("job-1-0-0", 1, DISCONNECTED)
    world.now += 3
    world.settle()
    status = world.job.status
    assert (status.attempt, status.restarts.job, status.last_failure.cause) == (2, 0, "NodeDrained")
    assert len(status.failures) == 1


UNREACHABLE = (
    "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store has failed."
)


def test_a_store_that_cannot_be_reached_is_replaced_elsewhere_and_nobodys_fault(world):
    """Its node died with it, and is called NotReady only later: the next attempt must not wait there for its peers."""
    world.start()
    world.change("job-rdzv", node="n2")
    world.end("job-1-0-0", 1, UNREACHABLE)
    world.settle()
    assert world.job.status.attempt == 1, "the one to blame may yet be told of"
    world.now += 3
    world.settle()
    status = world.job.status
    assert (status.attempt, status.restarts.infrastructure, status.restarts.job) == (2, 1, 0)
    last = status.last_failure
    assert (last.cause, last.pod, last.node) == ("RendezvousLost", "job-rdzv", "n2")
    assert "job-1-0-0" in last.message
    assert world.graces["job-rdzv"] == 0, "its kubelet may never answer"
    next_attempt(world)
    assert [p.avoid for p in world.made[-2:]] == [("n2",), ("n2",)]
    assert world.avoided_by_store == ("n2",)
    world.run_all()
    world.settle()
    assert world.job.status.phase == "Running"


def test_a_store_that_can_still_not_be_reached_is_the_networks_or_the_programs_fault(world):
    """Without a step in between it was not the store's node: that would go on for ever, at nobody's expense."""
    world.start()
    for name in ("job-1-0-0", "job-2-0-0"):
        world.end(name, 1, UNREACHABLE)
        world.settle()
        world.now += 130
        next_attempt(world)
        world.run_all()
        world.settle()
    status = world.job.status
    assert [f.cause for f in status.failures] == ["RendezvousLost", "CollectiveTimeout"]
    assert (status.restarts.infrastructure, status.restarts.job) == (1, 1)


def test_when_some_have_ended_well_a_lost_one_starts_a_new_generation(world):
    world.start()
    world.end("job-1-0-0", 0)
    world.change("job-1-1-0", deleting=True)
    world.settle()
    world.reap()
    world.settle()
    assert world.job.status.attempt == 2
    assert world.names() == ["job-2-0-0", "job-2-1-0"]


def test_restarts_in_place_are_counted_over_attempts(world):
    world.start()
    world.seen = replace(world.seen, report=Report(time=world.now, step=1, attempt=1, restart_count=2))
    world.settle()
    assert world.job.status.restarts.in_place == 2
    world.end("job-1-0-0", 1, TRACEBACK)
    next_attempt(world)
    world.start()
    world.now += 10
    world.seen = replace(world.seen, report=Report(time=world.now, step=1, attempt=2, restart_count=1))
    world.settle()
    assert (world.job.status.restarts.in_place, world.job.status.restarts.total) == (3, 4)


@pytest.mark.parametrize(("policy", "attempt"), [("Warn", 1), ("Restart", 2)])
def test_silence_is_a_stall(make_world, policy, attempt):
    world = make_world(deadlines={"stalledSeconds": 60, "onStall": policy})
    world.start()
    world.seen = replace(world.seen, report=Report(time=world.now, step=1, total_steps=9))
    decided = world.settle()
    assert decided.wake_at == world.now + 60
    world.now += 60
    world.settle()
    assert world.job.status.attempt == attempt
    assert "Stalled" in world.events
    if policy == "Warn":
        assert world.condition("Stalled") == ("True", "NoProgress")
        world.seen = replace(world.seen, report=Report(time=world.now, step=2, total_steps=9))
        world.settle()
        assert world.condition("Stalled")[0] == "False"
    else:
        assert world.job.status.last_failure.cause == "Stalled"


def test_who_never_reported_cannot_stall(make_world):
    world = make_world(deadlines={"stalledSeconds": 60, "onStall": "Restart"})
    world.start()
    world.now += 100_000
    world.settle()
    assert world.job.status.attempt == 1


def test_an_operator_that_was_away_heard_nothing_and_blames_nobody(make_world):
    world = make_world(deadlines={"stalledSeconds": 60, "onStall": "Restart"})
    world.start()
    world.seen = replace(world.seen, report=Report(time=world.now, step=1, total_steps=9))
    world.settle()
    world.now += 1000
    world.seen = replace(world.seen, report=None, watching_since=world.now)
    decided = world.settle()
    assert (world.job.status.attempt, decided.wake_at) == (1, world.now + 60)


def test_suspended_says_which_step_is_saved(world):
    world.start()
    world.seen = replace(world.seen, report=Report(time=world.now, step=40, total_steps=90))
    world.settle()
    world.set_spec(suspend=True)
    world.settle()
    saved = CheckpointStatus(last_step=41, path="/checkpoints/job")
    world.now += 2  # too soon for a report that is not the last
    world.seen = replace(world.seen, report=Report(time=world.now, step=41, total_steps=90, checkpoint=saved))
    world.reap()
    world.settle()
    assert world.job.status.checkpoint.last_step == 41
    assert world.job.status.message == "suspended; step 41 is saved"


def test_a_store_that_is_still_ending_is_not_lost_once_more(make_world):
    """A drain evicts it with its grace, and the next attempt's workers start faster than it ends."""
    world = make_world()
    world.start()
    world.change("job-rdzv", deleting=True)
    world.settle()
    assert world.job.status.attempt == 2
    world.run_all()
    world.settle()
    assert world.condition("Running")[0] == "False", "nobody can train yet: there is no store to meet at"
    assert world.job.status.message == "2 of 2 workers run, and wait for the rendezvous pod to run"
    assert (world.job.status.attempt, world.job.status.restarts.total) == (2, 1)
    world.reap()
    world.settle()
    world.run_all()
    world.settle()
    assert (world.job.status.phase, world.job.status.attempt) == ("Running", 2)


def test_an_evicted_pod_that_is_gone_before_it_is_looked_at_was_evicted(make_world):
    """The API server tells its condition, its end and its absence; a busy operator looks once, after the last of them."""
    world = make_world()
    world.start()
    pod = replace(world.pods.pop("job-1-0-0"), disruption="EvictionByEvictionAPI")
    world.seen = replace(world.seen, gone=(pod,))
    world.settle()
    failure = world.job.status.last_failure
    assert (failure.cause, failure.pod, failure.node) == ("NodeDrained", "job-1-0-0", "n1")
    assert (world.job.status.restarts.pod, world.job.status.restarts.total) == (1, 1)
    world.run_all()
    world.settle()
    assert (world.job.status.phase, world.job.status.restarts.total) == ("Running", 1), "it is answered once"


def test_a_second_deletion_is_not_blamed_on_how_the_first_pod_ended(make_world):
    """A deleted worker ends with an error of its own (SIGTERM), and is remembered by its last record."""
    world = make_world()
    world.start()
    for number in (0, 1):
        name = f"job-1-0-{number}"
        world.change(name, deleting=True)
        world.settle()
        assert (world.job.status.last_failure.cause, world.job.status.last_failure.pod) == ("PodDeleted", name)
        world.end(name, 1, "terminated by SIGTERM: step 5 is saved")
        world.seen = replace(world.seen, gone=(world.pods.pop(name),))
        world.run_all()
        world.settle()
        world.now += 100
    restarts = world.job.status.restarts
    assert (restarts.pod, restarts.infrastructure, restarts.since_window) == (2, 2, 0)
    assert len(world.job.status.failures) == 2

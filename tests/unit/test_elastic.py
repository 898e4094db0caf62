"""An elastic gang: on with what is left, whole again when there is room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from paceline.api.status import CheckpointStatus
from paceline.plan.observed import Report

FREE = {"minNodes": 1, "maxNodes": 4, "scaleUpCooldownSeconds": 100}
TOO_LATE = Path(__file__).with_name("words").joinpath("too-late.log").read_text(encoding="utf-8")
PAIRS = {"minNodes": 2, "maxNodes": 4, "step": 2, "scaleUpCooldownSeconds": 100}


def no_room(world, *names):
    for name in names:
        world.change(name, unschedulable="0/3 nodes are available: 3 Insufficient cpu.")


def run(world, *names):
    for name in names:
        pod = world.pods[name]
        world.change(name, unschedulable="", scheduled_at=world.now, node="n1")
        world.change(name, phase="Running", container=replace(pod.container, running_since=world.now))


def test_it_starts_with_what_there_is_room_for(make_world):
    world = make_world(nodes=3, elastic=FREE)
    world.settle()
    assert world.made[0].nnodes == (1, 4)
    run(world, "job-rdzv", "job-1-0-0", "job-1-2-0")
    no_room(world, "job-1-1-0")
    decided = world.settle()
    assert (world.job.status.phase, decided.wake_at) == (
        "Starting",
        world.now + 20,
    ) or world.job.status.phase == "Pending"
    world.now += 20
    world.settle()
    world.reap()
    world.settle()
    status = world.job.status
    assert (status.phase, status.attempt, status.nodes.summary) == ("Running", 1, "2/3")
    assert world.names() == ["job-1-0-0", "job-1-2-0"]
    assert world.condition("Degraded") == ("True", "FewerNodes")
    assert (status.nodes.min, status.nodes.max) == (1, 4)


def test_it_goes_on_with_what_is_left_and_grows_back(make_world):
    world = make_world(nodes=3, elastic=FREE)
    world.start()
    world.change("job-1-1-0", deleting=True, disruption="EvictionByEvictionAPI")
    world.settle()
    assert world.job.status.phase == "Running", "two of three train on"
    assert world.condition("Degraded")[0] == "True"
    assert world.condition("Recovering")[0] == "True"
    no_room(world, "job-1-1-1")
    world.reap()
    world.now += 20
    world.settle()
    world.reap()
    assert world.names() == ["job-1-0-0", "job-1-2-0"], "nothing is held while it waits"
    decided = world.settle()
    assert decided.wake_at == world.now + 100
    world.now += 100
    world.settle()
    assert len(world.workers()) == 3
    world.run_all()
    world.settle()
    assert (world.job.status.nodes.summary, world.condition("Degraded")[0]) == ("3/3", "False")
    assert (world.condition("Recovering")[0], world.job.status.attempt) == ("False", 1)


def test_it_grows_at_a_checkpoint_where_any_are_reported(make_world):
    world = make_world(nodes=2, elastic=FREE)
    world.settle()
    run(world, "job-1-0-0")
    no_room(world, "job-1-1-0")
    world.now += 20
    world.settle()
    world.reap()
    saved = CheckpointStatus(last_step=5, time=world.job.status.nodes.resize_time)
    world.seen = replace(world.seen, report=Report(time=world.now, step=5, checkpoint=saved))
    world.settle()
    world.now += 100
    world.settle()
    assert len(world.workers()) == 1, "the last checkpoint is of before the cooldown's end"
    world.now += 7
    saved = CheckpointStatus(last_step=9, time=saved.time.fromtimestamp(world.now, saved.time.tzinfo))
    world.seen = replace(world.seen, report=Report(time=world.now, step=9, checkpoint=saved))
    world.settle()
    assert len(world.workers()) == 2


def test_scaling_by_hand_keeps_the_attempt(make_world):
    world = make_world(nodes=2, elastic=FREE)
    world.start()
    world.set_spec(nodes=4)
    world.settle()
    assert (len(world.workers()), world.job.status.attempt) == (4, 1)
    world.run_all()
    world.settle()
    world.set_spec(nodes=1)
    world.settle()
    world.reap()
    world.settle()
    assert (world.names(), world.job.status.attempt) == (["job-1-0-0"], 1)
    assert world.job.status.restarts.total == 0


def test_sizes_between_the_steps_are_never_tried(make_world):
    world = make_world(nodes=4, elastic=PAIRS)
    world.settle()
    assert world.made[0].nnodes == (4, 4)
    run(world, "job-1-0-0", "job-1-1-0", "job-1-2-0")
    no_room(world, "job-1-3-0")
    world.now += 20
    world.settle()
    world.reap()
    world.settle()
    assert world.names() == ["job-2-0-0", "job-2-1-0"]
    assert world.made[-1].nnodes == (2, 2)
    world.run_all()
    world.settle()
    assert (world.job.status.phase, world.job.status.nodes.summary) == ("Running", "2/4")


def shrunk(make_world):
    world = make_world(nodes=4, elastic=PAIRS)
    world.settle()
    no_room(world, "job-1-3-0")
    world.now += 20
    world.settle()
    world.reap()
    world.settle()
    world.run_all()
    world.settle()
    world.now += 100
    world.settle()
    return world


def test_room_is_looked_for_before_the_gang_is_ended_for_it(make_world):
    world = shrunk(make_world)
    assert world.names() == ["job-2-0-0", "job-2-1-0", "job-3-2-0", "job-3-3-0"]
    no_room(world, "job-3-3-0")
    world.change("job-3-2-0", scheduled_at=world.now, node="n3")
    world.now += 20
    world.settle()
    world.reap()
    decided = world.settle()
    assert world.names() == ["job-2-0-0", "job-2-1-0"], "no room: nothing has happened"
    assert world.job.status.attempt == 2
    assert decided.wake_at == world.now + 100


def test_with_room_it_grows_by_a_new_attempt(make_world):
    world = shrunk(make_world)
    world.schedule_all()
    world.settle()
    assert world.job.status.attempt == 3
    assert world.graces["job-2-0-0"] is None, "a planned move: time to save"
    assert world.names() == ["job-3-0-0", "job-3-1-0", "job-3-2-0", "job-3-3-0"]
    world.reap()
    world.run_all()
    world.settle()
    assert (world.job.status.phase, world.job.status.nodes.summary) == ("Running", "4/4")
    assert world.job.status.restarts.total == 0, "growing is no failure"


def test_it_grows_beyond_what_was_asked_only_where_that_was_asked_for(make_world):
    for free, size in ((False, 2), (True, 4)):
        world = make_world(nodes=2, elastic=FREE | {"scaleUpWhenFree": free})
        world.start()
        world.now += 100
        world.settle()
        assert len(world.workers()) == size


def test_it_ends_when_all_that_trained_have_ended(make_world):
    world = make_world(nodes=3, elastic=FREE)
    world.start()
    world.change("job-1-2-0", deleting=True)
    world.settle()
    world.end("job-1-0-0", 0)
    world.settle()
    assert world.job.status.phase != "Succeeded"
    world.end("job-1-1-0", 0)
    world.settle()
    assert world.job.status.phase == "Succeeded", "the replacement came too late to train"


def test_who_finds_the_rendezvous_closed_by_those_that_trained_to_the_end_changes_nothing(make_world):
    world = make_world(nodes=2, elastic=FREE, restarts={"max": 0})
    world.start()
    world.end("job-1-0-0", 0)
    world.settle()
    assert world.job.status.phase != "Succeeded", "the other may still train"
    world.end("job-1-1-0", 1, TOO_LATE)
    world.settle()
    assert (world.job.status.phase, world.job.status.attempt) == ("Succeeded", 1)


def test_who_fails_beside_one_that_has_trained_to_the_end_is_a_failure(make_world):
    world = make_world(nodes=2, elastic=FREE, restarts={"max": 0})
    world.start()
    world.end("job-1-0-0", 0)
    world.end("job-1-1-0", 1, "ValueError: no more data")
    world.settle()
    assert world.job.status.phase == "Failed"

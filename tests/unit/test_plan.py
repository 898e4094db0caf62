"""The reconcile, transition by transition."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline.api.base import at
from paceline.api.status import Metric
from paceline.plan.actions import CreateRendezvous, CreateWorker
from paceline.plan.observed import Container, Report


def test_a_new_job_gets_its_store_and_all_workers_at_once(world):
    decided = world.step()
    assert decided.actions == (CreateRendezvous(), CreateWorker(0, 1, (2, 2)), CreateWorker(1, 1, (2, 2)))
    assert (world.job.status.phase, world.job.status.attempt, world.job.status.nodes.summary) == ("Pending", 1, "0/2")


def test_a_settled_job_asks_for_nothing(world):
    world.settle()
    world.run_all()
    world.settle()
    assert world.step().actions == ()


def test_the_happy_life(world):
    world.settle()
    world.schedule_all()
    world.settle()
    assert world.job.status.phase == "Starting"
    world.run_all()
    world.settle()
    assert world.job.status.phase == "Running"
    assert world.condition("Running") == world.condition("Ready") == ("True", "GangRunning")
    world.now += 60
    for pod in world.workers():
        world.end(pod.name, 0)
    world.settle()
    assert world.job.status.phase == "Succeeded"
    assert world.condition("Complete")[0] == "True"
    assert world.condition("Ready")[0] == "True"
    assert world.job.status.active_seconds == 60
    assert world.job.status.active_since is None
    assert world.pods["job-rdzv"].deleting
    assert not any(p.deleting for p in world.pods.values() if p.role == "worker"), "ended workers keep their logs"


def test_one_worker_that_ended_well_is_not_yet_success(world):
    world.settle()
    world.run_all()
    world.settle()
    world.end(world.workers()[0].name, 0)
    world.settle()
    assert world.job.status.phase == "Running"


def test_sidecars_never_keep_a_job_from_ending(world):
    world.settle()
    world.run_all()
    world.settle()
    for pod in world.workers():
        ended = Container(running_since=world.now, exit_code=0, finished_at=world.now)
        world.change(pod.name, container=ended, sidecars_running=True)
    world.settle()
    assert world.job.status.phase == "Succeeded"
    assert world.workers() == [], "their pods still ran, and cleanPodPolicy Running ends them"


def test_a_pod_whose_phase_lags_behind_its_container_keeps_its_log(world):
    world.settle()
    world.run_all()
    world.settle()
    for pod in world.workers():
        world.change(pod.name, container=Container(running_since=world.now, exit_code=0, finished_at=world.now))
    world.settle()
    assert [p.name for p in world.workers()] == ["job-1-0-0", "job-1-1-0"]


@pytest.mark.parametrize(
    ("policy", "left"), [("Running", ["job-1-0-0", "job-1-1-0"]), ("All", []), ("None", ["job-1-0-0", "job-1-1-0"])]
)
def test_clean_pod_policy(make_world, policy, left):
    world = make_world(cleanPodPolicy=policy)
    world.settle()
    world.run_all()
    world.settle()
    for pod in world.workers():
        world.end(pod.name, 0)
    world.settle()
    assert [p.name for p in world.workers()] == left


def test_why_it_waits_is_said_in_the_schedulers_words(world):
    world.settle()
    world.change("job-1-1-0", unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    world.settle()
    assert world.job.status.phase == "Pending"
    assert "Insufficient nvidia.com/gpu" in world.job.status.message
    assert world.condition("Running") == ("False", "Unschedulable")


def test_an_image_that_cannot_be_pulled_is_named_and_then_given_up(make_world):
    world = make_world(deadlines={"startupSeconds": 60})
    world.settle()
    world.run_all()
    world.change(
        "job-1-0-0",
        phase="Pending",
        container=Container(waiting_reason="ErrImagePull", waiting_message="no such image: nope:1"),
    )
    decided = world.settle()
    assert world.condition("Running") == ("False", "ImageError")
    assert "nope:1" in world.job.status.message
    assert decided.wake_at == world.now + 60
    world.now += 60
    world.settle()
    assert world.job.status.phase == "Failed"
    assert world.condition("Failed") == ("True", "StartupTimeout")
    assert "nope:1" in world.job.status.message


def test_a_pod_that_does_not_start_is_explained_by_its_events(make_world):
    world = make_world(deadlines={"startupSeconds": 60})
    world.settle()
    world.schedule_all()
    assert world.settle().wake_at == world.now + 20
    world.warned["job-1-0-0"] = 'FailedMount: MountVolume.SetUp failed for volume "data": secret "nope" not found'
    world.now += 20
    world.settle()
    assert world.condition("Running") == ("False", "WaitingForPods")
    assert world.job.status.message.endswith(
        'pod job-1-0-0: FailedMount: MountVolume.SetUp failed for volume "data": secret "nope" not found'
    )
    world.warned.clear()
    world.now += 39
    world.settle()
    assert "nope" in world.job.status.message, "they are not read again before a minute is over"
    world.now += 1
    world.settle()
    assert (world.job.status.phase, world.job.status.last_failure.cause) == ("Failed", "StartupTimeout")
    assert "nope" in world.job.status.last_failure.message


def test_waiting_for_a_node_does_not_count_as_starting(make_world):
    world = make_world(deadlines={"startupSeconds": 60})
    world.settle()
    world.change("job-1-0-0", unschedulable="no room")
    world.now += 3600
    world.settle()
    assert world.job.status.phase == "Pending"


@pytest.mark.parametrize(
    ("waiting", "cause"), [("InvalidImageName", "ImageError"), ("CreateContainerConfigError", "ConfigError")]
)
def test_what_no_restart_cures_fails_at_once(world, waiting, cause):
    world.settle()
    world.schedule_all()
    world.change("job-1-0-0", container=Container(waiting_reason=waiting, waiting_message="secret nope not found"))
    world.settle()
    assert world.condition("Failed") == ("True", cause)
    assert world.job.status.last_failure.cause == cause


def test_suspend_and_resume(world):
    world.settle()
    world.run_all()
    world.settle()
    world.now += 30
    world.set_spec(suspend=True)
    world.settle()
    assert world.job.status.phase == "Suspending"
    assert all(p.deleting for p in world.pods.values())
    world.reap()
    world.settle()
    assert world.job.status.phase == "Suspended"
    assert world.condition("Suspended")[0] == "True"
    assert world.job.status.active_seconds == 30
    world.now += 10_000
    world.set_spec(suspend=False)
    world.settle()
    assert world.job.status.attempt == 2
    assert [p.name for p in world.workers()] == ["job-2-0-0", "job-2-1-0"]
    assert world.condition("Suspended")[0] == "False"
    world.run_all()
    world.now += 5
    for pod in world.workers():
        world.end(pod.name, 0)
    world.settle()
    assert world.job.status.active_seconds == 35, "suspended time is not active time"


def test_suspended_from_birth_makes_no_pods(make_world):
    world = make_world(suspend=True)
    world.settle()
    assert world.pods == {}
    assert (world.job.status.phase, world.job.status.attempt) == ("Queued", 0)
    assert world.condition("Suspended") == ("True", "Queued")
    world.set_spec(suspend=False)
    world.settle()
    assert world.job.status.attempt == 1
    assert len(world.workers()) == 2


def test_active_deadline_spans_attempts(make_world):
    world = make_world(deadlines={"activeSeconds": 100})
    world.start()
    world.now += 60
    world.end("job-1-0-0", 1, "ValueError: bad")
    decided = world.settle()
    world.reap()
    world.now = decided.wake_at
    world.settle()
    world.run_all()
    decided = world.settle()
    assert decided.wake_at == world.job.status.active_since.timestamp() + 100
    world.now = decided.wake_at
    world.settle()
    assert world.condition("Failed") == ("True", "DeadlineExceeded")
    assert world.workers() == []


def test_time_to_live(make_world):
    world = make_world(ttlSecondsAfterFinished=50)
    world.settle()
    world.run_all()
    for pod in world.workers():
        world.end(pod.name, 0)
    decided = world.settle()
    assert decided.wake_at == int(world.now) + 50
    world.now = decided.wake_at
    world.settle()
    assert world.job_deleted


def test_scaling_starts_the_gang_again_at_the_new_size(world):
    world.settle()
    world.run_all()
    world.settle()
    world.set_spec(nodes=3)
    world.settle()
    assert [p.name for p in world.workers()] == ["job-2-0-0", "job-2-1-0", "job-2-2-0"]
    assert world.job.status.restarts.total == 0, "the user asked for it: no failure"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"name": "image-clasification"}, ["spec.recipe.name", "image-clasification", "image-classification"]),
        ({"name": "image-classification", "params": {"epoch": 3}}, ["epoch", "epochs"]),
        ({"name": "image-classification", "params": {"epochs": 0}}, ["spec.recipe.params.epochs", "minimum"]),
        ({"name": "image-classification", "params": {"pipeline_stages": 3}}, ["params.pipeline_stages", "[1, 2, 4]"]),
        (
            {"name": "image-classification", "params": {"tensor_parallel": 2}},
            ["spec.recipe.params.tensor_parallel", "need parallel: fsdp", "tensor_parallel: 2, parallel: ddp"],
        ),
    ],
)
def test_a_wrong_recipe_fails_before_any_pod(make_world, recipe, words):
    world = make_world(recipe=recipe)
    world.settle()
    assert world.pods == {}
    assert world.condition("Failed") == ("True", "InvalidRecipe")
    assert all(word in world.job.status.message for word in words), world.job.status.message


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"nodes": 3, "processesPerNode": 2}, "3 nodes × 2 processes"),
        ({"nodes": 2, "processesPerNode": 2, "elastic": {"minNodes": 1, "maxNodes": 2}}, "1 nodes × 2 processes"),
        ({"nodes": 2, "processesPerNode": 2}, None),
        ({"nodes": 1, "processesPerNode": "auto"}, None),
    ],
)
def test_processes_that_a_recipe_cannot_divide_are_refused_before_any_pod(make_world, spec, size):
    params = {"parallel": "fsdp", "tensor_parallel": 2, "pipeline_stages": 2}
    world = make_world(recipe={"name": "image-classification", "params": params}, **spec)
    world.settle()
    assert (world.job.status.phase == "Failed") == (size is not None)
    if size:
        assert world.pods == {}
        assert f"{size} cannot be divided into pipeline_stages 2 × tensor_parallel 2" in world.job.status.message


def test_a_refused_template_is_told_and_not_hammered(world):
    world.seen = replace(world.seen, refused="pod job-1-0-0 was refused: spec.containers[0].resources: Invalid value")
    decided = world.step()
    assert decided.actions == ()
    assert decided.wake_at == world.now + 30
    assert world.condition("Running") == ("False", "InvalidTemplate")
    assert "Invalid value" in world.job.status.message


def test_progress_is_merged_at_most_every_five_seconds(world):
    world.settle()
    world.run_all()
    world.settle()
    report = Report(
        time=world.now, step=10, total_steps=40, eta_seconds=90, metrics=(Metric(name="loss", value="0.5"),)
    )
    world.seen = replace(world.seen, report=report)
    world.step()
    progress = world.job.status.progress
    assert (progress.percent, progress.step, progress.eta) == ("25.0", 10, "1m30s")
    world.now += 2
    world.seen = replace(world.seen, report=replace(report, time=world.now, step=20))
    decided = world.step()
    assert world.job.status.progress.step == 10
    assert decided.wake_at == int(report.time) + 5
    for pod in world.workers():
        world.end(pod.name, 0)
    world.settle()
    assert world.job.status.progress.step == 20, "the last report is never lost"


def test_what_is_being_deleted_is_left_alone(world):
    meta = world.job.metadata.model_copy(update={"deletion_timestamp": at(world.now)})
    world.job = world.job.model_copy(update={"metadata": meta})
    assert world.step().actions == ()


def test_workers_that_were_never_made_are_made_although_others_have_ended_well(make_world):
    """The operator was killed in the middle of a start, and the first pods ended before it was back."""
    world = make_world(nodes=3)
    world.settle()
    del world.pods["job-1-2-0"]
    world.run_all()
    world.end("job-1-0-0", 0)
    world.end("job-1-1-0", 0)
    world.settle()
    assert world.names() == ["job-1-0-0", "job-1-1-0", "job-1-2-0"]
    world.run_all()
    world.end("job-1-2-0", 0)
    world.settle()
    assert (world.job.status.phase, world.job.status.attempt) == ("Succeeded", 1)

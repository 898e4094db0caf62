"""What a pod is told of its checkpoints, and what comes back of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from paceline.api.status import CheckpointStatus, TrainingJobStatus
from paceline.plan.progress import merge
from paceline.render import checkpoints
from paceline.render.pods import Installation, worker
from paceline.server.payload import Payload, to_report

CLAIM = {"persistentVolumeClaim": {"claimName": "ckpt"}}
AT = "2026-11-23T10:00:00Z"


def report(before=None, now=5.0, **status):
    return to_report(Payload.model_validate({"trainerStatus": status}), before, now)


def test_a_volume_is_mounted_and_its_folder_is_the_jobs_own(job_of):
    job = job_of(checkpoint={"volume": CLAIM, "everySteps": 5, "keep": 2, "gracePeriodSeconds": 90})
    spec = worker(job, Installation("image"), attempt=1, index=0, nnodes=(2, 2))["spec"]
    assert {"name": "checkpoints", **CLAIM} in spec["volumes"]
    assert {"name": "checkpoints", "mountPath": "/checkpoints"} in spec["containers"][0]["volumeMounts"]
    env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert env["PACELINE_CHECKPOINT_DIR"] == "/checkpoints/job-job-uid"
    assert (env["PACELINE_CHECKPOINT_EVERY_STEPS"], env["PACELINE_CHECKPOINT_KEEP"]) == ("5", "2")
    assert (spec["terminationGracePeriodSeconds"], env["PET_SHUTDOWN_TIMEOUT"]) == (90, "85")


def test_an_object_store_needs_no_volume(job_of):
    job = job_of(checkpoint={"uri": "s3://bucket/runs/", "everySeconds": 60, "saveOnSuspend": False})
    spec = worker(job, Installation("image"), attempt=1, index=0, nnodes=(2, 2))["spec"]
    assert "checkpoints" not in [v["name"] for v in spec["volumes"]]
    assert checkpoints.variables(job) == {
        "PACELINE_CHECKPOINT_DIR": "s3://bucket/runs/job-job-uid",
        "PACELINE_CHECKPOINT_EVERY_SECONDS": "60",
        "PACELINE_CHECKPOINT_KEEP": "3",
        "PACELINE_SAVE_ON_SIGTERM": "0",
    }


def test_without_checkpoints_nothing_is_said_of_them(job_of):
    assert checkpoints.variables(job_of()) == {}
    assert checkpoints.grace_seconds(job_of()) == 30


def test_a_checkpoint_arrives_in_the_status_and_an_error_goes_with_the_next_that_succeeds():
    saved = {"step": 40, "time": AT, "sizeBytes": 9, "path": "/c/step-40", "verified": True, "resumedFromStep": 20}
    first = report(checkpoint=saved, attempt=1, restartCount=2)
    assert (first.attempt, first.restart_count) == (1, 2)
    status, _ = merge(TrainingJobStatus(), first, 5.0, every=5, final=False)
    assert status.checkpoint == CheckpointStatus(
        last_step=40, time=datetime(2026, 11, 23, 10, tzinfo=UTC), size_bytes=9, path="/c/step-40", verified=True,
        resumed_from_step=20,
    )  # fmt: skip
    failed = report(first, 20.0, checkpoint={"error": "No space left on device"})
    status, _ = merge(status, failed, 20.0, every=5, final=False)
    assert (status.checkpoint.last_step, status.checkpoint.error) == (40, "No space left on device")
    again = report(failed, 40.0, checkpoint={"step": 60, "time": AT})
    status, _ = merge(status, again, 40.0, every=5, final=False)
    assert (status.checkpoint.last_step, status.checkpoint.error) == (60, None)
    assert status.checkpoint.resumed_from_step == 20


def test_a_report_without_one_keeps_the_last():
    first = report(checkpoint={"step": 40})
    assert report(first, progressPercentage=50).checkpoint == first.checkpoint


@pytest.mark.parametrize("wrong", [{"step": -1}, {"time": "soon"}, {"path": "x" * 2000}])
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match="checkpoint"):
        report(checkpoint=wrong)

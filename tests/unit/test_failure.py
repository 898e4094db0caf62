"""Attribution: from what pods, nodes and programs said to rank, cause, exit code, message and traceback.

words/: what torchrun 2.15 printed for two processes of which rank 1 failed; *.json: the error file that @record wrote.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paceline.api.base import at
from paceline.api.status import Cause, PastFailure
from paceline.plan import causes, failure
from paceline.plan.observed import Container, NodeRecord, PodRecord

WORDS = Path(__file__).parent / "words"
NOW = 1_800_000_000.0
CONTAINER_BYTES, FILE_BYTES = 2048, 4096  # of a log, and of an error file, in the pod's status


def words(name: str) -> str:
    return (WORDS / name).read_text(encoding="utf-8")


def pod(message="", exit_code: int | None = 1, reason="Error", index=0, finished=NOW, **fields) -> PodRecord:
    container = Container(
        running_since=NOW - 60, exit_code=exit_code, finished_at=finished, reason=reason, message=message
    )
    made = PodRecord(
        "ns", f"j-1-{index}-0", f"u{index}", 1, "j", "ju", 1, "worker", index, "Failed", 0.0, node=f"n{index}"
    )
    return replace(made, container=container, **fields)


def blame(*pods, nodes=None, logs=None):
    return failure.first(pods, nodes or {}, logs or {}, NOW)


LOGS = [
    ("plain-raise.log", Cause.CODE_ERROR, 1, 1, "ValueError: bad learning rate"),
    ("plain-exit.log", Cause.CODE_ERROR, 1, 3, "rank 1 ended with exit code 3"),
    ("plain-segv.log", Cause.CODE_ERROR, 1, 139, "Signal 11 (SIGSEGV)"),
    ("plain-kill.log", Cause.UNKNOWN, 1, 137, "Signal 9 (SIGKILL)"),
    # torchrun saw the peer's error first, and took it for the root cause.
    ("rec-kill-late.log", Cause.UNKNOWN, 1, 137, "Signal 9 (SIGKILL)"),
    ("plain-oom.log", Cause.OUT_OF_MEMORY, 1, 1, "CUDA out of memory"),
    # An agent that found the group complete, and then its rendezvous closed by those who trained to the end.
    ("too-late.log", Cause.COLLECTIVE_TIMEOUT, None, 1, "has no attribute 'is_failed'"),
]


@pytest.mark.parametrize(("name", "cause", "rank", "code", "said"), LOGS)
def test_what_torchrun_printed_with_its_log(name, cause, rank, code, said):
    text = words(name)
    found = blame(pod(text[-CONTAINER_BYTES:]), logs={"u0": text})
    assert (found.cause, found.rank, found.exit_code) == (cause, rank, code)
    assert said in found.message
    assert found.hint


def test_the_log_brings_the_traceback_of_the_rank_to_blame():
    text = words("plain-raise.log")
    found = blame(pod(text[-CONTAINER_BYTES:]), logs={"u0": text})
    assert found.traceback.startswith("Traceback (most recent call last):")
    assert found.traceback.endswith("ValueError: bad learning rate")
    assert "plain.py" in found.traceback
    assert "ChildFailedError" not in found.traceback


@pytest.mark.parametrize(
    ("name", "cause", "device"), [("rec-raise", Cause.CODE_ERROR, None), ("rec-oom", Cause.OUT_OF_MEMORY, "GPU 1")]
)
def test_an_error_file(name, cause, device):
    found = blame(pod(words(f"{name}.json")))
    assert (found.cause, found.device, found.rank) == (cause, device, None)
    assert "rec.py" in found.traceback
    assert found.time == at(float(words(f"{name}.json").split('"timestamp": "')[1].split('"')[0]))


def test_torchruns_summary_has_the_traceback_of_the_root_cause():
    text = words("rec-raise.log").replace("[rank0]: ", "").replace("[rank1]: ", "")  # as before a group is formed
    for known in ({}, {"u0": text}):
        found = blame(pod(text[-CONTAINER_BYTES:]), logs=known)
        assert (found.cause, found.rank, found.message) == (Cause.CODE_ERROR, 1, "ValueError: bad learning rate")
        assert found.traceback.startswith("Traceback (most recent call last):\n  File")
        assert "all_reduce" not in found.traceback, "that is the other rank's"


def test_an_error_file_and_the_log_together_know_the_rank():
    assert blame(pod(words("rec-raise.json")), logs={"u0": words("rec-raise.log")}).rank == 1


@pytest.mark.parametrize("kept", [400, 420, 450, 500])
def test_of_a_long_error_file_the_end_is_enough(kept):
    found = blame(pod(words("rec-raise.json")[-kept:]))
    assert (found.cause, found.message) == (Cause.CODE_ERROR, "ValueError: bad learning rate")


OUTSIDE = [
    (pod(exit_code=137, reason="OOMKilled"), Cause.OUT_OF_MEMORY),
    (pod(exit_code=None, reason="", deleting=True, disruption="EvictionByEvictionAPI"), Cause.NODE_DRAINED),
    (pod(exit_code=None, reason="", deleting=True, disruption="PreemptionByScheduler"), Cause.PREEMPTED),
    (pod(exit_code=137, disruption="TerminationByKubelet"), Cause.EVICTED),
    (pod(exit_code=None, disruption="DeletionByTaintManager"), Cause.NODE_LOST),
    (replace(pod("SignalException"), reason="Evicted", message="low on memory"), Cause.EVICTED),
    (replace(pod(exit_code=None), reason="UnexpectedAdmissionError"), Cause.UNSCHEDULABLE),
    (replace(pod(exit_code=None), reason="OutOfcpu"), Cause.UNSCHEDULABLE),
    (replace(pod(exit_code=143), reason="Terminated"), Cause.NODE_DRAINED),
    (pod('exec: "torchrun": executable file not found in $PATH', exit_code=128, reason="StartError"), Cause.CONFIG_ERROR),
    (pod(exit_code=143), Cause.POD_DELETED),
    (pod("CUDA error: uncorrectable ECC error encountered\nTraceback (most recent call last):"), Cause.DEVICE_ERROR),
    (pod("RuntimeError: NCCL Error 6: ncclRemoteError: remote process exited"), Cause.COLLECTIVE_TIMEOUT),
    (pod("RuntimeError: DataLoader worker: OSError: [Errno 28] No space left on device"), Cause.CODE_ERROR),
    (pod("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"), Cause.OUT_OF_MEMORY),
    (pod("made to fail", exit_code=1), Cause.UNKNOWN),
    (pod("", exit_code=137), Cause.UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("failed", "cause"), OUTSIDE)
def test_the_cause(failed, cause):
    found = blame(failed)
    assert (found.cause, found.pod, found.node) == (cause, "j-1-0-0", "n0")
    assert found.message
    assert found.hint


def test_who_failed_first_is_blamed_and_who_only_noticed_is_not():
    noticed = pod(words("plain-exit.log").split("W1123 15:02:09")[0], index=0, finished=NOW - 5)
    culprit = pod("ValueError: mine", index=1, finished=NOW - 3)
    later = pod("ValueError: later", index=2, finished=NOW - 1)
    assert blame(noticed, culprit, later).pod == "j-1-1-0"
    assert failure.is_secondary(blame(noticed))
    assert not failure.is_secondary(blame(culprit))


def test_nobody_failed():
    assert blame(replace(pod(exit_code=None), phase="Running")) is None


@pytest.mark.parametrize(
    ("failed", "gave_up"),
    [
        (pod("x", exit_code=1), True),
        (pod("x", exit_code=3), True),
        (pod(exit_code=137), False),
        (pod(exit_code=143), False),
        (pod("torch...api.SignalException: Process 1 got signal: 15", exit_code=1), False),
        (replace(pod(exit_code=1), reason="Evicted"), False),
        (replace(pod(exit_code=1), disruption="EvictionByEvictionAPI"), False),
        (replace(pod(exit_code=1), deleting=True), False),
        (replace(pod(exit_code=None), phase="Failed"), False),
    ],
)
def test_did_the_agent_give_up(failed, gave_up):
    assert failure.agent_gave_up(failed) == gave_up


def test_lost_and_vanished():
    node = NodeRecord("n0", 1, ready=False, unschedulable=False, troubles=("DiskPressure: full",))
    lost = failure.node_lost(pod(), node, NOW)
    assert (lost.cause, "DiskPressure" in lost.message) == (Cause.NODE_LOST, True)
    assert "gone from the cluster" in failure.node_lost(pod(), None, NOW).message
    assert failure.vanished(None, "j-1-0-0", {}, NOW).cause == Cause.POD_DELETED
    cordoned = {"n0": replace(node, ready=True, unschedulable=True)}
    assert failure.vanished(pod(), "j-1-0-0", cordoned, NOW).cause == Cause.NODE_DRAINED


@pytest.mark.parametrize("step", [7, None])
def test_the_same_failure_three_times(step):
    found = blame(pod("ValueError: mine\nmore")).model_copy(update={"step": step})
    assert found.cause == Cause.CODE_ERROR
    short = failure.shorten(found)
    assert short.message == "ValueError: mine"
    assert failure.same_again([short, short], found)
    assert not failure.same_again([short], found)
    assert not failure.same_again([short, short.model_copy(update={"step": 8})], found)
    assert not failure.same_again([short, PastFailure(cause=Cause.NODE_LOST, message="m", time=at(NOW))], found)


def test_every_cause_has_a_meaning():
    for cause in Cause:
        assert causes.hint(cause)
        assert isinstance(causes.counts(cause), bool)
        assert isinstance(causes.curable(cause), bool)
    assert not any(causes.counts(c) for c in (Cause.NODE_LOST, Cause.PREEMPTED, Cause.EVICTED, Cause.RENDEZVOUS_LOST))

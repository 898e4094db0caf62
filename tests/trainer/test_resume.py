"""Interrupted runs of several real processes: nothing is trained twice, nothing is lost, and the losses are as if undisturbed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer import s3
from tests.trainer.conftest import ROOT, environment, launcher

COUNTED = str(Path(__file__).with_name("counted.py"))
SAMPLES, BATCH, EPOCHS = 1438, 50, 4
PER_EPOCH = 29
TOTAL = EPOCHS * PER_EPOCH
LIMIT = 180.0  # ends a hang


class Run:
    """A launcher and its processes; every line of their output as it comes."""

    def __init__(
        self, folder: Path, command: list[str], attempt: int = 1, params: dict[str, Any] | None = None, **env: str
    ) -> None:
        (folder / "counts").mkdir(parents=True, exist_ok=True)
        params = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 7, **(params or {})}
        own = {
            "PACELINE_CHECKPOINT_DIR": str(folder / "job"),
            "PACELINE_CHECKPOINT_EVERY_STEPS": "10",
            "PACELINE_ATTEMPT": str(attempt),
            "COUNT_DIR": str(folder / "counts"),
            "STEP_SECONDS": "0.05",
            # As the operator sets it: ADR 3.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        arguments = [
            "--recipe",
            "image-classification",
            "--params",
            json.dumps(params),
            "--output",
            str(folder / "output"),
        ]
        self.process = subprocess.Popen(
            [*command, COUNTED, *arguments],
            env=environment(**{**own, **env}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def until(self, pattern: str) -> re.Match[str]:
        """The first line that has this."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found.extend(match for line in self.lines if (match := re.search(pattern, line)))
            return bool(found) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(seen, LIMIT)
        assert found, f"no {pattern!r} in:\n" + self.output()
        return found[0]

    def until_step(self, number: int) -> None:
        # Lines come at every fifth step.
        steps = "|".join(str(step) for step in range(number, number + 5))
        self.until(rf"^step=({steps})/{TOTAL} ")

    def output(self) -> str:
        return "\n".join(self.lines)

    def end(self) -> int:
        """The launcher's exit code."""
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return code

    def terminate(self) -> int:
        """SIGTERM to the launcher alone, as the kubelet does it."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """All at once, as when a container is killed. torchrun's processes have sessions of their own."""
        for pid in (*children(self.process.pid), self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.end()


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


@pytest.fixture
def start(tmp_path):
    """Starts a Run; what still runs at the end is killed."""
    runs: list[Run] = []

    def begin(processes: int | None = None, command: list[str] | None = None, **more: Any) -> Run:
        runs.append(Run(tmp_path, command or launcher(processes or 1), **more))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The losses of two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = Run(folder, launcher(2), PACELINE_CHECKPOINT_DIR="", STEP_SECONDS="0")
    assert run.end() == 0, run.output()
    return losses(folder)


def losses(folder: Path) -> list[float]:
    return json.loads((folder / "output/report.json").read_text(encoding="utf-8"))["losses"]


def groups(folder: Path) -> list[dict[str, Any]]:
    """What each group of processes did, in order: since which step, of what size, and its samples by step."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "counts").iterdir()):
        head, *steps = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        group = found.setdefault(head["group"], {**head, "steps": {}})
        assert group["since"] == head["since"], "all processes of a group begin at the same step"
        for line in steps:
            group["steps"].setdefault(line["step"], []).extend(line["samples"])
    return list(found.values())


def check_counts(done: list[dict[str, Any]], lost: int) -> None:
    """Every sample once in every epoch, but for the steps that were lost: at most so many at each interruption."""
    kept: dict[int, list[int]] = {}
    for group, after in zip(done, [*done[1:], None], strict=True):
        until = TOTAL if after is None else after["since"]
        assert max(group["steps"]) - until <= lost
        kept |= {step: samples for step, samples in group["steps"].items() if step <= until}
    assert sorted(kept) == list(range(1, TOTAL + 1))
    for epoch in range(EPOCHS):
        counts = Counter(s for step in range(epoch * PER_EPOCH, (epoch + 1) * PER_EPOCH) for s in kept[step + 1])
        assert counts == Counter(range(SAMPLES))


def test_sigterm_loses_nothing_and_sigkill_what_came_after_the_last_checkpoint(tmp_path, start, undisturbed):
    first = start(2)
    first.until_step(33)
    assert first.terminate() != 0
    assert {path.name for path in (tmp_path / "output").iterdir()} == {"tensorboard"}, "curves, and no model"
    saved = int(first.until(r"terminated by SIGTERM: step (\d+) is saved")[1])
    assert saved >= 33

    second = start(2, attempt=2)
    words = second.until(r"resumed from step (\d+) \(attempt 1, world size 2\)")
    assert int(words[1]) == saved
    second.until_step(75)
    second.until(r"checkpoint: step 70,")
    second.kill()

    third = start(2, attempt=3, STEP_SECONDS="0")
    resumed = int(third.until(r"resumed from step (\d+) \(attempt 2, world size 2\)")[1])
    assert resumed >= 60
    assert third.end() == 0, third.output()

    done = groups(tmp_path)
    assert [group["since"] for group in done] == [0, saved, resumed]
    assert max(done[0]["steps"]) == saved, "SIGTERM loses no step at all"
    check_counts(done, lost=20)
    assert losses(tmp_path) == undisturbed, "bit by bit"


def test_another_number_of_processes_goes_on_in_the_middle_of_an_epoch(tmp_path, start, undisturbed):
    for attempt, (processes, until) in enumerate(((2, 20), (3, 65)), 1):
        run = start(processes, attempt=attempt)
        run.until_step(until)
        run.terminate()
        run.until(r"terminated by SIGTERM: step \d+ is saved")
    last = start(2, attempt=3, STEP_SECONDS="0")
    last.until(r"resumed from step \d+ \(attempt 2, world size 3\)")
    assert last.end() == 0, last.output()
    done = groups(tmp_path)
    assert [group["world"] for group in done] == [2, 3, 2]
    check_counts(done, lost=0)
    # float32: rounding differs with the number of processes, and decides a max-pool now and then (docs/trainer.md).
    torch.testing.assert_close(losses(tmp_path), undisturbed, rtol=0, atol=2e-2)
    assert losses(tmp_path)[:19] == undisturbed[:19]

    # A job that is started once more after its end has nothing to train.
    (tmp_path / "output/manifest.json").unlink()
    again = start(2, attempt=4)
    assert again.end() == 0, again.output()
    assert f"resumed from step {TOTAL} " in again.output()
    assert "step=" not in again.output()
    assert losses(tmp_path)[:19] == undisturbed[:19]
    assert (tmp_path / "output/manifest.json").exists()


@pytest.mark.parametrize("staleness", [0, 2])
def test_a_parameter_server_and_its_workers_save_the_step_that_all_have_ended(tmp_path, start, staleness):
    params = {"parallel": "server", "staleness": staleness}
    first = start(3, params=params)
    first.until_step(33)
    assert first.terminate() != 0
    saved = first.until(r"terminated by SIGTERM: step (\d+) is saved")[1]
    second = start(2, attempt=2, params=params)
    second.until(rf"resumed from step {saved} \(attempt 1, world size 3\)")
    second.until_step(75)
    second.until(r"checkpoint: step 70,")
    second.kill()
    last = start(2, attempt=3, STEP_SECONDS="0")  # and on without a server
    last.until(r"resumed from step \d+ \(attempt 2, world size 2\)")
    assert last.end() == 0, last.output()
    assert max(groups(tmp_path)[0]["steps"]) == int(saved), "SIGTERM loses no step at all"
    check_counts(groups(tmp_path), lost=20)


@pytest.fixture
def agent(start):
    """Starts torchrun's agent of one of up to two nodes, with a rendezvous store apart from both, as the operator does."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    conf = "is_host=0,last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{store.port}", "--rdzv-id=job", f"--rdzv-conf={conf}"),
        "--local-addr=127.0.0.1",
    ]

    def begin(**env: str) -> Run:
        return start(command=command, **env)

    yield begin
    del store


def test_an_elastic_gang_shrinks_and_grows_without_a_lost_step(tmp_path, agent):
    pace = {"STEP_SECONDS": "0.15", "STEP_SECONDS_ALONE": "1"}  # whoever is alone waits for company
    here, there = agent(**pace), agent(**pace)
    main = first_to_step([here, there], 1)
    other = there if main is here else here
    main.until_step(10)
    other.terminate()  # its pod is drained
    main.until("PeerLeft: a peer was told to stop; step [0-9]+ is saved")
    main.until(r"resumed from step \d+ \(attempt 1, world size 2\)")
    newcomer = agent(**pace)
    first_to_find([main, newcomer], r"resumed from step \d+ \(attempt 1, world size 1\)")
    assert main.end() == 0, main.output()
    assert newcomer.end() == 0, newcomer.output()
    done = groups(tmp_path)
    assert [group["world"] for group in done] == [2, 1, 2]
    check_counts(done, lost=0)


def test_a_store_that_speaks_s3_holds_them_as_well(tmp_path, start):
    with s3.server(tmp_path / "buckets") as environ:
        environ["PACELINE_CHECKPOINT_DIR"] = "s3://checkpoints/prefix/job"
        first = start(2, **environ)
        first.until(r"checkpoint: step 10,")
        first.terminate()
        saved = first.until(r"terminated by SIGTERM: step (\d+) is saved")[1]
        second = start(1, attempt=2, STEP_SECONDS="0", **environ)
        second.until(rf"resumed from step {saved} \(attempt 1, world size 2\)")
        assert second.end() == 0, second.output()
        names = {path.name for path in (tmp_path / "buckets/checkpoints/prefix/job").glob("step-*")}
        assert f"step-{TOTAL:08d}" in names
    check_counts(groups(tmp_path), lost=0)


def test_nodes_that_do_not_share_the_directory_are_told_so_and_train_on(tmp_path, start):
    run = start(2, OWN_FOLDERS="1", STEP_SECONDS="0", PACELINE_CHECKPOINT_EVERY_STEPS="100")
    assert run.end() == 0, run.output()
    run.until(rf"checkpoint of step {TOTAL} FAILED: .*all nodes must share that directory; training goes on")
    assert len(losses(tmp_path)) == TOTAL
    assert list(tmp_path.glob("job-of-rank-0/*step*/*")) == []


def test_the_example_of_a_script_of_ones_own(tmp_path):
    """Two processes of it, SIGTERM, and two again: plain torch, as in the documentation."""
    command = [*launcher(2), str(ROOT / "examples/scripts/own_checkpoints.py")]
    env = environment(PACELINE_CHECKPOINT_DIR=str(tmp_path / "own"), PACELINE_CHECKPOINT_EVERY_STEPS="7")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("step=20/"):
                first.terminate()
                break
        last = [line for line in first.stdout if line.startswith("step=")][-1]
        assert first.wait(LIMIT) != 0
    saved = int(re.match(r"step=(\d+)/", last)[1])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as second:
        assert second.stdout is not None
        said = ""
        for line in second.stdout:
            if line.startswith("step="):
                break
            said += line  # of both at once: the ends of their lines may come later than their words
        assert sorted(re.findall("rank . resumes from step [0-9]+", said)) == [
            f"rank {rank} resumes from step {saved}" for rank in (0, 1)
        ]
        assert line.startswith(f"step={saved - saved % 10 + 10}/")
        second.terminate()
        assert second.wait(LIMIT) != 0
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["last.pt"]


def first_to_step(runs: list[Run], number: int) -> Run:
    return first_to_find(runs, rf"^step={number}/")


def first_to_find(runs: list[Run], pattern: str) -> Run:
    """Whichever has the process of rank 0, which alone speaks."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        for run in runs:
            if any(re.search(pattern, line) for line in list(run.lines)):
                return run
        time.sleep(0.1)
    raise AssertionError(f"no {pattern!r} in:\n" + "\n---\n".join(run.output() for run in runs))


def wait_for_steps_of(processes, tmp_path):
    """Until so many have begun a step: SIGTERM is theirs to answer from there on."""

    def stepping():
        return sum('"step"' in path.read_text(encoding="utf-8") for path in (tmp_path / "counts").iterdir())

    deadline = time.monotonic() + LIMIT
    while stepping() < processes and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stepping() == processes


def test_a_second_sigterm_ends_at_once_and_the_one_before_it_is_resumed(tmp_path, start):
    """Also where the process is stuck: here in a step that takes an hour."""
    run = start(1, STEP_SECONDS="0", PACELINE_CHECKPOINT_EVERY_STEPS="5")
    run.until(r"checkpoint: step 5,")
    run.kill()
    stuck = start(1, attempt=2, STEP_SECONDS="3600")
    stuck.until("resumed from step")
    wait_for_steps_of(2, tmp_path)
    stuck.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert stuck.process.poll() is None, "the first one waits for the step's end"
    assert stuck.terminate() == 143
    assert "terminated by a second SIGTERM" in stuck.output()


def test_a_step_that_does_not_end_is_not_waited_for_beyond_the_time_given(tmp_path, start):
    stuck = start(1, STEP_SECONDS="3600", PET_SHUTDOWN_TIMEOUT="4")
    wait_for_steps_of(1, tmp_path)
    assert stuck.terminate() == 143
    assert "the step was not done in time" in stuck.output()


def test_without_save_on_sigterm_it_ends_without_saving(tmp_path, start):
    run = start(1, PACELINE_SAVE_ON_SIGTERM="0", PACELINE_CHECKPOINT_EVERY_STEPS="1000")
    run.until_step(6)
    assert run.terminate() == 143
    assert list((tmp_path / "job").glob("step-*")) == []

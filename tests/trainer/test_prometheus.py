"""What Prometheus reads of a worker: real runs, asked while they train, and read by Prometheus' own parser."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from torch.utils.data import TensorDataset

from paceline_trainer import Batches, Progress, World
from tests.trainer.conftest import environment, launcher, run_recipe

LIMIT = 240.0  # ends a hang
PARTS = {"data", "computation", "communication", "other"}
COMMON = {"loss", "samples_per_second", "steps_total", "samples_total", "memory_bytes"}
OF_A_RECIPE = COMMON | {"learning_rate", "step_seconds"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def scrape(port: int) -> dict[str, dict[str, float]]:
    """By name without the prefix, and by what the only label says, which most have none of; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.name.startswith("paceline_trainer_")
            assert set(sample.labels) <= {"part"}, "what tells workers apart is the scrape's to add"
            name = sample.name.removeprefix("paceline_trainer_")
            assert (family.type == "counter") is name.endswith("_total")
            found.setdefault(name, {})[sample.labels.get("part", "")] = sample.value
    return found


@contextmanager
def training(folder, recipe: str, params: dict, processes: int, **env: str) -> Iterator[subprocess.Popen]:
    command = [*launcher(processes), "-m", "paceline_trainer.run", "--recipe", recipe, "--params", json.dumps(params)]
    child = subprocess.Popen(
        [*command, "--output", str(folder / "out")], stdout=subprocess.DEVNULL, text=True, env=environment(**env)
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(60)


def scraped_when(child: subprocess.Popen, port: int, ready) -> dict[str, dict[str, float]]:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        assert child.poll() is None, "it has ended"
        found = scrape(port)
        if ready(found):
            return found
        time.sleep(0.2)
    raise AssertionError("it was never so")


def test_a_worker_is_read_while_it_trains(tmp_path):
    port = free_port()
    params = {"epochs": 1000, "batch_size": 100, "width": 4, "lr": 0.004}
    with training(tmp_path, "image-classification", params, 2, PACELINE_METRICS_PORT=str(port)) as child:
        first = scraped_when(child, port, lambda found: found.keys() >= OF_A_RECIPE)
        steps = first["steps_total"][""]
        second = scraped_when(child, port, lambda found: found["steps_total"][""] > steps)
    assert first.keys() == OF_A_RECIPE
    assert first["step_seconds"].keys() == PARTS
    assert 0 < first["step_seconds"]["computation"] < 60
    assert math.isfinite(first["loss"][""])
    assert first["learning_rate"][""] == 0.004
    assert first["memory_bytes"][""] > 50e6
    for found in (first, second):
        made, samples = found["steps_total"][""], found["samples_total"][""]
        assert 100 * made * 0.9 < samples <= 100 * made, "the last batch of an epoch is smaller"
    assert second["samples_total"][""] > first["samples_total"][""]


def test_texts_are_counted_in_tokens(tmp_path):
    port = free_port()
    params = {"epochs": 50, "batch_size": 8, "max_tokens": 12, "tuning": "lora"}
    with training(tmp_path, "topic-classification", params, 1, PACELINE_METRICS_PORT=str(port)) as child:
        found = scraped_when(child, port, lambda found: found.get("steps_total", {"": 0})[""] >= 1)
    assert found["samples_total"][""] == 8 * found["steps_total"][""]
    assert found["tokens_total"][""] == 12 * found["samples_total"][""], "news are longer than that"


def test_a_port_that_is_taken_is_said_once_and_the_run_goes_on(tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        said = run_recipe(
            tmp_path / "out", "linear-regression", {"epochs": 2, "folds": 2}, 2, PACELINE_METRICS_PORT=str(port)
        )
    assert said["stdout"].count(f"metrics are not served on port {port}, the run goes on without") == 1


@pytest.mark.parametrize("port", ["nine", "99999"])
def test_what_is_no_port_is_said(port, capsys):
    Progress(World(0, 1, torch.device("cpu"), "gloo"), {"PACELINE_METRICS_PORT": port})
    assert f"metrics are not served on port {port}" in capsys.readouterr().out


def test_a_loop_of_ones_own_is_read_as_far_as_it_tells():
    port = free_port()
    alone = World(0, 1, torch.device("cpu"), "gloo")
    batches = Batches(TensorDataset(torch.ones(10, 1)), alone, batch_size=4, epochs=2)
    batches.position = type(batches.position)(1, 0, 1, 4)  # as a checkpoint of step 1 leaves it
    progress = Progress(alone, {"PACELINE_METRICS_PORT": str(port)})
    assert scrape(port).keys() == {"steps_total", "samples_total", "memory_bytes"}
    for batch in batches:
        progress.step(batch, 1 / batch.step, learning_rate=0.5)
    found = scrape(port)
    assert found.keys() == COMMON | {"learning_rate"}
    assert (found["loss"][""], found["learning_rate"][""]) == (pytest.approx(1 / 6), 0.5)
    assert (found["steps_total"][""], found["samples_total"][""]) == (5, 16)
    assert progress.usage.figures()["samples"] == 20


def test_without_a_port_and_in_other_processes_of_the_pod_nothing_is_served():
    port = free_port()
    world = World(1, 2, torch.device("cpu"), "gloo")
    Progress(world, {})
    Progress(world, {"PACELINE_METRICS_PORT": str(port), "LOCAL_RANK": "1"})
    assert scrape(port) == {}
    Progress(world, {"PACELINE_METRICS_PORT": str(port), "LOCAL_RANK": "0"})
    assert scrape(port).keys() == {"steps_total", "samples_total", "memory_bytes"}

"""Every example, applied as it stands."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request

import pytest

from tests.e2e.conftest import configmap, logs
from tests.kube import ROOT, condition, kubectl, patch, pods, status, wait, wait_phase

EXAMPLES = ROOT / "examples"


def apply_example(name, namespace):
    kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / name))


def scraped(name, namespace):
    """What workers answer at their port named metrics, by pod; of those that do."""
    found = {}
    for pod in pods(name, namespace):
        trainer = next(c for c in pod["spec"]["containers"] if c["name"] == "trainer")
        port = next(p["containerPort"] for p in trainer.get("ports", []) if p["name"] == "metrics")
        with contextlib.suppress(OSError, KeyError):  # it has no address yet, or its program is still loading
            with urllib.request.urlopen(f"http://{pod['status']['podIP']}:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            if "paceline_trainer_loss " in text:
                found[pod["metadata"]["name"]] = text
    return found


def test_every_example_has_a_test():
    here = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests/e2e").glob("test_*.py"))
    assert [p.name for p in sorted(EXAMPLES.glob("*.yaml")) if p.name not in here] == []


def test_01_a_cnn_is_trained_on_two_nodes(namespace):
    apply_example("01-image-classification.yaml", namespace)
    seen, read = [], {}

    def progressing():
        found = status("digits", namespace)
        if "progress" in found:
            seen.append(float(found["progress"]["percent"]))
            read.update(scraped("digits", namespace))
        return found.get("phase") in ("Succeeded", "Failed") and found

    found = wait("digits ends", progressing, 600)
    assert found["phase"] == "Succeeded", found
    assert seen == sorted(seen)
    assert len(set(seen)) > 3, "progress was reported on the way"
    assert found["progress"]["percent"] == "100.0"
    assert len(read) == 2, "each worker answered Prometheus while it trained"
    for text in read.values():
        assert re.search(r"^paceline_trainer_loss [0-9.e-]+$", text, re.MULTILINE), text
    assert found["progress"]["samples"] == 30 * 1438, "four fifths of the digits"
    assert found["utilization"]["source"] == "the program: CPU time of rank 0's cores"
    assert 0 < float(found["utilization"]["ratio"]) <= 1
    assert float(found["goodput"]["seconds"]["evaluation"]) > 0
    accuracy = float(next(m["value"] for m in found["model"]["metrics"] if m["name"] == "accuracy"))
    assert accuracy >= 0.97
    nodes = {p["spec"]["nodeName"] for p in pods("digits", namespace)}
    assert len(nodes) == 2, "one worker a node"
    said = "".join(logs(p["metadata"]["name"], namespace) for p in pods("digits", namespace))
    assert "world=2 backend=gloo" in said
    assert "true\\pred" in said
    assert re.search(rf"sha256 {found['model']['sha256']}", said)


def test_02_linear_regression_with_two_processes_a_node(namespace):
    apply_example("02-linear-regression.yaml", namespace)
    found = wait_phase("diabetes", namespace, "Succeeded", seconds=400)
    assert float(next(m["value"] for m in found["model"]["metrics"] if m["name"] == "r2")) > 0.4
    said = "".join(logs(p["metadata"]["name"], namespace) for p in pods("diabetes", namespace))
    assert "world=4" in said


def test_03_any_torchrun_script(namespace):
    configmap("allreduce", "allreduce.py", namespace)
    apply_example("03-any-torchrun-script.yaml", namespace)
    wait_phase("allreduce", namespace, "Succeeded", seconds=400)
    said = "".join(logs(p["metadata"]["name"], namespace) for p in pods("allreduce", namespace))
    assert sorted(re.findall(r"rank (\d) of 4", said)) == ["0", "1", "2", "3"]
    assert said.count("sum of ranks 6, expected 6") == 4


def test_04_an_unmodified_hugging_face_script_reports_by_itself(namespace):
    configmap("hf-trainer", "hf_trainer.py", namespace)
    apply_example("04-hugging-face-trainer.yaml", namespace)
    on_the_way = wait(
        "progress, ETA and loss while it runs",
        lambda: (
            (p := status("hf-trainer", namespace).get("progress"))
            and p.get("etaSeconds")
            and any(m["name"] == "loss" for m in p.get("metrics", []))
            and p
        ),
        240,
    )
    assert 0 < float(on_the_way["percent"]) < 100
    row = kubectl("get", "tj", "hf-trainer", "-n", namespace).splitlines()[1].split()
    assert row[1:3] == ["Running", "2/2"]
    assert len(row) == 9, f"PROGRESS, ETA, LOSS and COST are shown: {row}"
    found = wait_phase("hf-trainer", namespace, "Succeeded", seconds=400)
    assert found["progress"]["percent"] == "100.0"


def test_05_log_pattern(namespace):
    configmap("log-pattern", "logpattern.py", namespace)
    apply_example("05-log-pattern.yaml", namespace)
    found = wait_phase("log-pattern", namespace, "Succeeded", seconds=400)
    found = wait(
        "the last line's progress",
        lambda: (s := status("log-pattern", namespace))["progress"]["step"] == 60 and s,
    )
    assert (found["progress"]["totalSteps"], found["progress"]["percent"]) == (60, "100.0")
    assert found["progress"]["metrics"][0]["name"] == "loss"


def test_06_a_script_that_throws_leaves_its_traceback(namespace):
    configmap("throws", "raises.py", namespace)
    apply_example("06-a-script-that-throws.yaml", namespace)
    found = wait_phase("throws", namespace, "Failed", seconds=400)
    assert condition(found, "Failed")["reason"] == "MaxRestartsExceeded"
    failure = found["lastFailure"]
    assert failure["cause"] == "CodeError", json.dumps(failure)
    assert failure["message"] == "ValueError: the learning rate must be positive"
    assert "raises.py" in failure["traceback"]
    assert failure["exitCode"] == 1


def test_07_checkpoints_survive_a_suspension(namespace):
    apply_example("07-checkpoints.yaml", namespace)
    wait("a checkpoint", lambda: status("saved", namespace).get("checkpoint", {}).get("lastStep", 0) >= 100, 150)
    patch("saved", namespace, suspend=True)
    found = wait_phase("saved", namespace, "Suspended", seconds=90)
    patch("saved", namespace, suspend=False)
    ended = wait_phase("saved", namespace, "Succeeded", seconds=400)
    assert ended["checkpoint"]["resumedFromStep"] == found["checkpoint"]["lastStep"] > 100
    assert ended["checkpoint"]["path"].startswith("/checkpoints/saved-")
    assert float(ended["checkpoint"]["saveSeconds"]) > 0
    assert float(ended["checkpoint"]["restoreSeconds"]) > 0
    assert float(ended["goodput"]["seconds"]["checkpoint"]) > 0
    assert ended["progress"]["samples"] == ended["progress"]["totalSteps"] // 23 * 1438, (
        "from before the suspension too"
    )


def test_08_your_own_script_saves_when_told(namespace):
    configmap("own-checkpoints", "own_checkpoints.py", namespace)
    apply_example("08-your-own-checkpoints.yaml", namespace)
    wait("it steps", lambda: status("own-checkpoints", namespace).get("progress", {}).get("step", 0) >= 50, 150)
    patch("own-checkpoints", namespace, suspend=True)
    found = wait_phase("own-checkpoints", namespace, "Suspended", seconds=90)
    patch("own-checkpoints", namespace, suspend=False)
    wait_phase("own-checkpoints", namespace, "Succeeded", seconds=400)
    said = logs("own-checkpoints-2-0-0", namespace) + logs("own-checkpoints-2-1-0", namespace)
    resumed = re.search(r"resumes from step (\d+)", said)
    assert resumed
    assert int(resumed[1]) >= found["progress"]["step"], "the step that it was at when it was told"


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.yaml")))
def test_the_api_server_knows_every_field(name):
    kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(EXAMPLES / name))


@pytest.mark.parametrize(
    ("example", "name", "processes"),
    [
        ("09-fully-sharded.yaml", "digits-fsdp", 2),
        ("10-tensor-parallel.yaml", "digits-tensor", 4),
        ("11-pipeline.yaml", "digits-pipeline", 2),
        ("14-parameter-server.yaml", "digits-server", 4),
    ],
)
def test_a_model_spread_over_two_nodes_is_the_same_model(namespace, example, name, processes):
    apply_example(example, namespace)
    found = wait_phase(name, namespace, "Succeeded", seconds=400)
    assert float(next(m["value"] for m in found["model"]["metrics"] if m["name"] == "accuracy")) >= 0.97
    workers = pods(name, namespace)
    assert {p["spec"]["nodeName"] for p in workers} == {"n1", "n2"}
    said = "".join(logs(p["metadata"]["name"], namespace) for p in workers)
    assert f"world={processes} backend=gloo" in said
    if name == "digits-server":
        assert "gradients were of weights" in said
        metrics = {m["name"]: float(m["value"]) for m in found["progress"]["metrics"]}
        assert 0 < metrics["staleness"] <= 2 * (2 * 2 + 1), "two other workers, at most two steps ahead"


def test_12_a_loop_of_ones_own_uses_the_trainers_pieces(namespace):
    configmap("own-loop", "own_loop.py", namespace)
    apply_example("12-own-loop.yaml", namespace)
    found = wait_phase("own-loop", namespace, "Succeeded", seconds=400)
    metrics = {m["name"]: float(m["value"]) for m in found["progress"]["metrics"]}
    assert metrics["eval_accuracy"] >= 0.9
    assert found["checkpoint"]["lastStep"] == 960

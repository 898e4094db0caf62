"""Compression on real kubelets: the examples as they stand, and pipelines that must not be accepted."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.e2e.compressions import ended, models, status
from tests.e2e.conftest import logs
from tests.kube import ROOT, apply, condition, get, kubectl, wait, wait_phase


def example(name):
    return next(d for d in yaml.safe_load_all((ROOT / "examples" / name).read_text(encoding="utf-8")) if d)


def children(name, namespace):
    return get("tj", namespace=namespace, selector=f"paceline.dev/compression-name={name}")


def rate(tj):
    return float(tj["status"]["cost"]["hourlyRateUSD"])


@pytest.fixture(scope="module")
def digits():
    """A namespace with the CNN of the first example, trained; and compressions of it that are wanted by all tests."""
    name = "compression-digits"
    kubectl("create", "namespace", name)
    kubectl("apply", "-n", name, "-f", str(ROOT / "examples/01-image-classification.yaml"))
    kubectl("apply", "-n", name, "-f", str(ROOT / "examples/16-compression.yaml"))
    assert condition(wait("it waits", lambda: status("digits-small", name)), "SourceReady")["status"] == "False"
    wait_phase("digits", name, "Succeeded", seconds=600)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_16_pruned_recovered_and_int8(digits):
    found = ended("digits-small", digits)
    assert found["verdict"] == "Accepted", found
    report = found["report"]
    base, last = report["baseline"], report["stages"][-1]
    assert [stage["name"] for stage in report["stages"]] == ["prune", "recover", "int8"]
    assert float(last["sizeRatio"]) >= 5
    assert last["macs"] <= 0.1 * base["macs"]
    assert float(last["scores"]["accuracy"]) >= float(base["scores"]["accuracy"]) - 0.01
    assert float(report["stages"][0]["scores"]["accuracy"]) <= float(report["stages"][1]["scores"]["accuracy"]), (
        "the recovery brings back what pruning took"
    )
    assert last["runtime"] == "onnxruntime"
    assert report["environment"]["threads"] == "1"
    assert report["candidate"] == "int8" or "recover is kept" in found["message"]
    assert all(float(stage["costUSD"]) > 0 for stage in report["stages"])
    serving = report["serving"]
    assert float(serving["usdPerMillionBefore"]) > 0
    assert float(serving["usdPerMillionAfter"]) > 0
    assert "onnx" in found["artifact"]["formats"]
    wait(
        "its children's stores cost nothing any more",
        lambda: all(rate(tj) == 0 for tj in children("digits-small", digits)),
    )

    def adds_up():
        spent = sum(float(tj["status"]["cost"]["accruedUSD"]) for tj in children("digits-small", digits))
        return float(status("digits-small", digits)["cost"]["accruedUSD"]) == pytest.approx(spent, abs=1e-3)

    wait("it costs what its children do", adds_up)
    assert float(found["cost"]["sourceUSD"]) > 0
    training = [tj for tj in children("digits-small", digits) if "recipe" in tj["spec"]]
    assert {tj["spec"]["nodes"] for tj in training} == {2}
    export = next(
        tj for tj in children("digits-small", digits) if tj["metadata"]["labels"]["paceline.dev/stage"] == "export"
    )
    pod = get(
        "pods", namespace=digits, selector=f"paceline.dev/job-uid={export['metadata']['uid']},paceline.dev/role=worker"
    )[0]
    said = logs(pod["metadata"]["name"], digits)
    assert re.search(r"fresh process", said), said
    folder = models(digits) / "digits-digits-small/artifact"
    assert "Accepted" in (folder / "compression.html").read_text(encoding="utf-8")
    assert "Accepted" in (folder / "compression.md").read_text(encoding="utf-8")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (given,) = session.get_inputs()
    (logits,) = session.run(None, {given.name: np.zeros((3, 1, 28, 28), np.float32)})
    assert logits.shape == (3, 10)


def test_what_must_not_be_accepted_is_not(digits):
    spec = example("16-compression.yaml")["spec"]
    int8 = {"name": "int8", "method": "quantize.static"}
    prune = {"name": "prune", "method": "prune.structured", "target": {"macsRatio": "0.3"}}

    def job(name, **more):
        base = {"source": spec["source"], "serving": {"checkSeconds": 5}}
        return {
            "apiVersion": "paceline.dev/v1alpha1", "kind": "CompressionJob",
            "metadata": {"name": name, "namespace": digits}, "spec": base | more,
        }  # fmt: skip

    drop = {"metric": "accuracy", "goal": "maxDrop", "value": "0.01"}
    apply(
        job(
            "too-much", stages=[prune | {"target": {"macsRatio": "0.02"}}], onGateFail="Stop", gates=[drop],
        ),
        job(
            "impossible", stages=[prune, int8], onGateFail="Backoff", maxTrials=2,
            gates=[drop | {"value": "1"}, {"metric": "sizeBytes", "goal": "minReduction", "value": "0.999"}],
        ),
        job("poor", stages=[prune, int8], gates=[drop], cost={"budget": {"maxUSD": "2", "onExceed": "Fail"}}),
    )  # fmt: skip
    regressed = ended("too-much", digits)
    assert (regressed["verdict"], regressed["phase"]) == ("Regression", "Failed"), regressed
    assert "artifact" not in regressed, "a model that is worse is withheld"
    assert "accuracy maxDrop 0.01" in regressed["message"]
    infeasible = ended("impossible", digits)
    assert infeasible["verdict"] == "Infeasible", infeasible
    assert [trial["targets"]["prune"] for trial in infeasible["report"]["trials"]] == [
        "macsRatio 0.3",
        "macsRatio 0.65",
    ]
    assert "came closest" in infeasible["message"]
    assert infeasible["artifact"]["path"], "the best that was reached"
    poor = ended("poor", digits)
    assert poor["verdict"] == "BudgetExceeded", poor
    assert condition(poor, "BudgetExceeded")["status"] == "True"


def test_18_weights_trained_for_int8(digits):
    kubectl("apply", "-n", digits, "-f", str(ROOT / "examples/18-weight-only.yaml"))
    found = ended("digits-int8", digits)
    assert found["verdict"] == "Accepted", found
    (stage,) = found["report"]["stages"]
    assert stage["runtime"] == "pytorch"
    assert float(stage["sizeRatio"]) >= 2
    assert found["artifact"]["formats"] == ["safetensors"]

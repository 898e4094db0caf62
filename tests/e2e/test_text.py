"""Texts on real kubelets: a classifier of news, and the student of two layers that is made of it."""

from __future__ import annotations

from tests.e2e.compressions import ended, models
from tests.kube import ROOT, kubectl, wait_phase


def test_13_and_17_news_by_topic_and_a_student_of_two_layers_in_int8(namespace):
    for name in ("13-topic-classification.yaml", "17-distilled-text.yaml"):
        kubectl("apply", "-n", namespace, "-f", str(ROOT / "examples" / name))
    source = wait_phase("topics", namespace, "Succeeded", seconds=400)
    metrics = {m["name"]: float(m["value"]) for m in source["model"]["metrics"]}
    assert metrics["accuracy"] >= 0.95
    assert metrics["roc_auc"] >= 0.99
    folder = models(namespace) / "topics"
    assert "| politics |" in (folder / "report.md").read_text(encoding="utf-8")
    for picture in ("loss.png", "confusion.png", "roc.png", "calibration.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG"), picture
    found = ended("topics-small", namespace, seconds=1800)
    assert found["verdict"] == "Accepted", found
    base, int8 = found["report"]["baseline"], found["report"]["stages"][-1]
    assert int8["name"] == "int8"
    assert float(int8["sizeRatio"]) >= 5
    assert float(int8["speedup"]) >= 2
    assert float(int8["scores"]["accuracy"]) >= 0.97 * float(base["scores"]["accuracy"])

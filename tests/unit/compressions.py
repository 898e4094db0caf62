"""A CompressionJob in memory: plans are carried out on TrainingJobs that end at once with the figures that a test gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.plan.actions import Announce, DeleteJob
from paceline.plan.compression.reconcile import plan
from paceline.plan.compression.seen import CreateChild, DeleteChild, PatchChild, Seen

API = Path(__file__).resolve().parents[2] / "operator/paceline/api"
RECIPES = json.loads((API / "recipes.json").read_text(encoding="utf-8"))
METHODS = json.loads((API / "methods.json").read_text(encoding="utf-8"))
CREATED = "2026-11-29T10:00:00Z"
BASE = {
    "accuracy": 0.99, "loss": 0.05, "sizeBytes": 800_000, "baselineSizeBytes": 800_000, "parameters": 200_000, "macs": 1e6,
    "latencyP50": 2.0, "latencyP95": 3.0, "latencyP99": 4.0, "baselineLatencyP50": 2.0, "baselineLatencyP95": 3.0,
    "baselineLatencyP99": 4.0, "eagerLatencyP50": 4.0, "throughput": 500, "accuracyStandardError": 0.005,
    "evaluationSamples": 360, "servedThroughput": 1000, "baselineServedThroughput": 250,
}  # fmt: skip
PRUNE = {"name": "prune", "method": "prune.structured", "target": {"macsRatio": "0.5"}}
RECOVER = {"name": "recover", "method": "distill.soft", "params": {"epochs": 2}}
INT8 = {"name": "int8", "method": "quantize.static"}
DROP = {"metric": "accuracy", "goal": "maxDrop", "value": "0.01"}
SMALLER = {"metric": "sizeBytes", "goal": "minReduction", "value": "0.5"}


def trained(**more: Any) -> TrainingJob:
    """A source that has ended with a model on a volume."""
    spec = {
        "recipe": {"name": "image-classification", "params": {"epochs": 3}},
        "nodes": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "trainer",
                        "env": [{"name": "PACELINE_OUTPUT_DIR", "value": "/models/digits"}],
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    }
                ],
                "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
            }
        },
    } | more.pop("spec", {})
    status = {
        "phase": "Succeeded",
        "conditions": [holds("Complete")],
        "model": {"path": "/models/digits", "sha256": "a" * 64},
        "cost": {"accruedUSD": "0.5", "asOf": CREATED},
    } | more
    return TrainingJob.parse({"metadata": meta("digits", "s"), "spec": spec, "status": status})


def holds(type_: str, reason: str = "X") -> dict[str, Any]:
    return {"type": type_, "status": "True", "reason": reason, "message": "", "lastTransitionTime": CREATED}


def meta(name: str, uid: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "n", "uid": uid, "creationTimestamp": CREATED, **more}


class World:
    """``answers``: figures that a stage's measurement reports, by stage or by (stage, target); over BASE."""

    def __init__(self, answers: dict[Any, dict[str, float]] | None = None, **spec: Any) -> None:
        self.answers = answers or {}
        given = {"source": {"trainingJobRef": {"name": "digits"}}, "stages": [PRUNE, RECOVER, INT8], "gates": [DROP]}
        self.obj: dict[str, Any] = {"metadata": meta("small", "c"), "spec": given | spec}
        self.source: TrainingJob | None = trained()
        self.children: dict[str, dict[str, Any]] = {}
        self.events: list[str] = []
        self.made: list[str] = []
        self.now = 1_800_000_000.0
        self.usd = {"each": 0.01}
        self.books: dict[str, Any] = {}
        self.gone = False

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.obj.get("status", {}))

    def change(self, **spec: Any) -> None:
        self.obj["spec"] |= spec
        self.obj["metadata"]["generation"] = self.obj["metadata"].get("generation", 1) + 1

    def reconcile(self) -> list[Any]:
        seen = Seen(
            self.source,
            {name: TrainingJob.parse(child) for name, child in self.children.items()},
            RECIPES,
            METHODS,
            "trainer:1",
            self.books,
        )
        decided = plan(CompressionJob.parse(self.obj), seen, self.now)
        self.now += 1
        self.obj["status"] = json.loads(json.dumps(decided.status.wire()))
        for action in decided.actions:
            match action:
                case CreateChild():
                    if action.name not in self.children:
                        self.made.append(action.manifest["metadata"]["labels"]["paceline.dev/stage"])
                        self.children[action.name] = self._born(action)
                case PatchChild():
                    merge(self.children[action.name]["spec"], action.spec)
                case DeleteChild():
                    del self.children[action.name]
                case Announce():
                    self.events.append(action.reason)
                case DeleteJob():
                    self.gone = True
        return list(decided.actions)

    def _born(self, action: CreateChild) -> dict[str, Any]:
        uid = f"{action.name}/{len(self.made)}"
        return {**action.manifest, "metadata": {**action.manifest["metadata"], **meta(action.name, uid)}, "status": {}}

    def end(self, child: dict[str, Any], **status: Any) -> None:
        """The TrainingJob succeeds, unless ``status`` says otherwise."""
        stage = child["metadata"]["labels"]["paceline.dev/stage"]
        request = json.loads(child["spec"]["command"][-1]) if "command" in child["spec"] else {}
        target = tuple(request.get("target", {}).values())
        figures = BASE | self.answers.get(stage, {}) | self.answers.get((stage, *target), {})
        metrics = [{"name": name, "value": str(value)} for name, value in figures.items()]
        environment = {"runtime": "onnxruntime", "formats": "safetensors,onnx", "threads": "1"}
        model = {"path": "/x", "sha256": "b" * 64, "metrics": metrics, "environment": environment}
        child["status"] = {
            "phase": "Succeeded",
            "conditions": [holds("Complete")],
            "model": model if request.get("do") != "publish" else None,
            "cost": {"accruedUSD": str(self.usd.get(stage, self.usd["each"])), "asOf": CREATED},
            "startTime": CREATED,
            "completionTime": "2026-11-29T10:00:30Z",
        } | status

    @property
    def open(self) -> list[dict[str, Any]]:
        """TrainingJobs that have not ended."""
        return [child for child in self.children.values() if not child["status"].get("conditions")]

    def run(self, rounds: int = 100) -> dict[str, Any]:
        """Until nothing is to be done any more."""
        for _ in range(rounds):
            actions = self.reconcile()
            if not actions and not self.open:
                return self.status
            for child in self.open:
                self.end(child)
        raise AssertionError(f"no end in sight: {self.status}")


def merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value

"""The steps of a trial, each by a key of all that its result follows from: what has a result is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline.api.compressionjob import CompressionJob, Stage
from paceline.plan.compression.gates import TRAINED
from paceline.plan.compression.origin import Origin

SOURCE, EXPORT, PUBLISH = "source", "export", "report"
KEY_DIGITS, NAME_DIGITS, LONGEST_NAME = 12, 8, 52
# What pseudo-labels must be sure of, where the stage does not say.
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Step:
    """One TrainingJob. ``params``: of the recipe, where it trains; ``request``: of paceline_trainer.compress, where it does not.

    ``folder``: of what it leaves; ``model``: of the model that the next stage goes on from.
    """

    stage: str
    name: str
    key: str
    folder: str
    model: str
    params: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    nodes: int = 1
    env: dict[str, str] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        return self.params is not None


@dataclass(frozen=True)
class Pipeline:
    """Steps of a trial up to its last measurement: the source, then stage by stage one or two."""

    job: CompressionJob
    origin: Origin
    stages: Sequence[Stage]

    @property
    def output(self) -> str:
        return (self.job.spec.output or f"{self.origin.path}-{self.job.metadata.name}").rstrip("/")

    @property
    def steps(self) -> list[Step]:
        spec = self.job.spec
        key = _key("", [self.origin.path, self.origin.sha256, self.origin.recipe.wire(), spec.measure.wire()])
        folder = self._folder(key)
        found = [self._conversion(SOURCE, key, self.origin.path, folder, "none", {}, {}, model=self.origin.path)]
        model, sparse, layers = self.origin.path, False, self.origin.recipe.params.get("layers")
        for stage in self.stages:
            key = _key(key, stage.model_dump(mode="json", exclude={"name", "nodes"}))
            target = {name: _number(value) for name, value in stage.target.wire().items() if name != "layers"}
            if stage.method in TRAINED:
                layers = stage.target.layers or stage.params.get("layers") or layers
                found.append(self._training(stage, key, model, sparse=sparse, layers=layers))
                trained, key = found[-1].folder, _key(key, "measured")
                method, own = ("quantize.qat", self._scheme(stage)) if stage.method == "quantize.qat" else ("none", {})
                found.append(self._conversion(stage.name, key, trained, self._folder(key), method, own, {}))
                if method == "none":
                    found[-1] = _with_model(found[-1], trained)
            else:
                found.append(
                    self._conversion(
                        stage.name, key, model, self._folder(key), stage.method, dict(stage.params), target
                    )
                )
            model = found[-1].model
            sparse = sparse or stage.method == "prune.unstructured"
        return found

    def export(self, of: Step) -> Step:
        """Of the model that a step left: the artifact."""
        spec = self.job.spec
        key = _key(of.key, [EXPORT, *spec.export, spec.serving.check_seconds])
        request = {
            "do": "export",
            "source": self.origin.path,
            "input": of.model,
            "output": f"{self.output}/artifact",
            "formats": list(spec.export),
            "measure": _measure(self.job),
            "serveSeconds": spec.serving.check_seconds,
        }
        folder = f"{self.output}/artifact"
        return Step(EXPORT, self._name(EXPORT, key), key, folder, folder, request=request)

    def publish(self, of: Sequence[Step], files: str) -> Step:
        """The report's ``files`` (packed) beside the artifact."""
        key = _key("".join(step.key for step in of), PUBLISH)
        request = {"do": "publish", "output": f"{self.output}/artifact"}
        return Step(
            PUBLISH,
            self._name(PUBLISH, key),
            key,
            request["output"],
            "",
            request=request,
            env={"PACELINE_FILES": files},
        )

    def _training(self, stage: Stage, key: str, begins_with: str, *, sparse: bool, layers: int | None) -> Step:
        """``layers``: of what it makes, where a number was said; ``sparse``: an earlier stage has made weights zero."""
        params: dict[str, Any] = {**self.origin.recipe.params, "start_from": begins_with}
        params.pop("folds", None)  # how good the source's settings are is not the question any more
        if sparse:
            params["keep_zeros"] = True
        if stage.method.startswith("distill."):
            params["teacher"] = self.origin.path
        if stage.method == "distill.pseudoLabel":
            params["confidence"] = CONFIDENCE
        if stage.method == "quantize.qat":
            params["quantization_aware"] = self._scheme(stage)["scheme"]
        if layers is not None:
            params["layers"] = layers
        params |= {name: value for name, value in stage.params.items() if name != "scheme"}
        if params.get("teacher") == SOURCE:  # as it is written in manifests: the path is not the user's to know
            params["teacher"] = self.origin.path
        nodes = stage.nodes or self.job.spec.nodes
        folder = self._folder(key)
        return Step(stage.name, self._name(stage.name, key), key, folder, folder, params=params, nodes=nodes)

    def _conversion(
        self,
        stage: str,
        key: str,
        begins_with: str,
        folder: str,
        method: str,
        params: dict[str, Any],
        target: dict[str, float],
        *,
        model: str = "",
    ) -> Step:
        request = {
            "do": "stage",
            "source": self.origin.path,
            "input": begins_with,
            "output": folder,
            "method": method,
            "target": target,
            "params": params,
            "measure": _measure(self.job),
        }
        return Step(stage, self._name(stage, key), key, folder, model or folder, request=request)

    def _scheme(self, stage: Stage) -> dict[str, Any]:
        return {"scheme": stage.params.get("scheme", "int8-dynamic")}

    def _folder(self, key: str) -> str:
        return f"{self.output}/stages/{key}"

    def _name(self, stage: str, key: str) -> str:
        """Of the TrainingJob; the same for the same result, and another one for each CompressionJob."""
        digest = hashlib.sha256(f"{self.job.metadata.uid}/{key}".encode()).hexdigest()[:NAME_DIGITS]
        return f"{self.job.metadata.name}-{stage}"[: LONGEST_NAME - NAME_DIGITS - 1].rstrip("-") + f"-{digest}"


def _with_model(step: Step, model: str) -> Step:
    return Step(step.stage, step.name, step.key, step.folder, model, request=step.request)


def _measure(job: CompressionJob) -> dict[str, Any]:
    """As the request has it; the device is the CPU."""
    measure = job.spec.measure
    return {"batch": measure.batch, "threads": measure.threads, "runs": measure.runs, "tokens": measure.tokens}


def _number(text: str) -> float:
    return float(text)


def _key(before: str, what: Any) -> str:
    return hashlib.sha256(f"{before}{json.dumps(what, sort_keys=True)}".encode()).hexdigest()[:KEY_DIGITS]

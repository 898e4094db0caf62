"""The CustomResourceDefinitions, generated from the types (`make crds`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from paceline.api import COMPRESSION_KIND, COMPRESSION_PLURAL, GROUP, KIND, PLURAL, VERSION
from paceline.api.compression_rules import COMPRESSION_SPEC_RULES
from paceline.api.compression_status import CompressionJobStatus
from paceline.api.compressionjob import CompressionJobSpec
from paceline.api.schema import structural
from paceline.api.spec import OBJECT_RULES, SPEC_RULES, TrainingJobSpec
from paceline.api.status import TrainingJobStatus


def _column(
    name: str, path: str, type_: str = "string", *, wide: bool = False, description: str = ""
) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": type_, "jsonPath": path}
    if description:
        column["description"] = description
    return {**column, "priority": 1} if wide else column


COLUMNS = [
    _column("Phase", ".status.phase"),
    _column("Nodes", ".status.nodes.summary", description="Workers running / asked for"),
    _column("Progress", ".status.progress.percent", description="Percent of all steps"),
    _column("ETA", ".status.progress.eta"),
    _column("Loss", '.status.progress.metrics[?(@.name=="loss")].value'),
    _column("Cost", ".status.cost.accruedUSD", description="USD so far"),
    _column("Restarts", ".status.restarts.total", "integer", description="In place, pods and attempts together"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Attempt", ".status.attempt", "integer", wide=True),
    _column("Forecast", ".status.cost.forecastUSD", wide=True, description="USD at the end"),
    _column("Goodput", ".status.goodput.ratio", wide=True, description="Productive share of the time with devices"),
    _column("Checkpoint", ".status.checkpoint.lastStep", "integer", wide=True, description="Step of the newest"),
    _column("Message", ".status.message", wide=True),
]


COMPRESSION_COLUMNS = [
    _column("Phase", ".status.phase"),
    _column("Stage", ".status.stage", description="What runs now, or ran last"),
    _column("Verdict", ".status.verdict"),
    _column("Size", ".status.summary.size", description="Source : compressed"),
    _column("Speedup", ".status.summary.speedup", description="Median latency in the same runtime; below 1 is slower"),
    _column("Score", ".status.summary.score", description="Source > compressed"),
    _column("Cost", ".status.cost.accruedUSD", description="USD so far, all stages of all trials"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Trial", ".status.trial", "integer", wide=True),
    _column("Progress", ".status.progress.percent", wide=True, description="Percent of the trial's steps"),
    _column("Job", ".status.progress.trainingJob", wide=True, description="TrainingJob that runs now"),
    _column("Message", ".status.message", wide=True),
]


def training_job_crd() -> dict[str, Any]:
    scale = {
        "specReplicasPath": ".spec.nodes",
        "statusReplicasPath": ".status.nodes.running",
        "labelSelectorPath": ".status.selector",
    }
    return _crd(
        KIND,
        PLURAL,
        "tj",
        "A TrainingJob runs one PyTorch program on several nodes as one elastic torchrun group.",
        (TrainingJobSpec, SPEC_RULES),
        TrainingJobStatus,
        COLUMNS,
        scale=scale,
    )


def compression_job_crd() -> dict[str, Any]:
    return _crd(
        COMPRESSION_KIND,
        COMPRESSION_PLURAL,
        "cj",
        "A CompressionJob prunes, distils and quantizes a trained model, holds each stage to its gates, and says what it is "
        "worth.",
        (CompressionJobSpec, COMPRESSION_SPEC_RULES),
        CompressionJobStatus,
        COMPRESSION_COLUMNS,
    )


CRDS = {PLURAL: training_job_crd, COMPRESSION_PLURAL: compression_job_crd}


def _crd(
    kind: str,
    plural: str,
    short: str,
    description: str,
    spec_and_rules: tuple[type[BaseModel], list[dict[str, str]]],
    status: type[BaseModel],
    columns: list[dict[str, Any]],
    **subresources: Any,
) -> dict[str, Any]:
    spec_type, spec_rules = spec_and_rules
    spec = structural(spec_type)
    spec["x-kubernetes-validations"] = spec_rules
    schema = {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "x-kubernetes-validations": OBJECT_RULES,
        "properties": {
            "apiVersion": {"type": "string", "description": "paceline.dev/v1alpha1"},
            "kind": {"type": "string", "description": kind},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural(status),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["paceline"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}, **subresources},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }

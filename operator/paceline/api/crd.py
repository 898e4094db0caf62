"""The CustomResourceDefinition of TrainingJob, generated from the types (`make crds`)."""

from __future__ import annotations

from typing import Any

from paceline.api import GROUP, KIND, PLURAL, VERSION
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


def training_job_crd() -> dict[str, Any]:
    spec = structural(TrainingJobSpec)
    spec["x-kubernetes-validations"] = SPEC_RULES
    schema = {
        "type": "object",
        "description": "A TrainingJob runs one PyTorch program on several nodes as one elastic torchrun group.",
        "required": ["spec"],
        "x-kubernetes-validations": OBJECT_RULES,
        "properties": {
            "apiVersion": {"type": "string", "description": "paceline.dev/v1alpha1"},
            "kind": {"type": "string", "description": "TrainingJob"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural(TrainingJobStatus),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["tj"],
                "categories": ["paceline"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": COLUMNS,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.nodes",
                            "statusReplicasPath": ".status.nodes.running",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }

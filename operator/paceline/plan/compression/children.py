"""The TrainingJob that does a step: in the source's surroundings, restartable, priced and within the budget as any other."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from paceline.api import API_VERSION, COMPRESSION_KIND, GROUP, KIND, TRAINER_CONTAINER
from paceline.api.compressionjob import CompressionJob
from paceline.api.spec import TrainingJobSpec
from paceline.plan.compression.origin import Origin
from paceline.plan.compression.pipeline import Step
from paceline.render.merge import merge

LABEL_COMPRESSION_UID = f"{GROUP}/compression-uid"
LABEL_COMPRESSION_NAME = f"{GROUP}/compression-name"
LABEL_STAGE = f"{GROUP}/stage"


def manifest(
    job: CompressionJob, origin: Origin, step: Step, *, trainer_image: str, left_usd: Decimal | None
) -> dict[str, Any]:
    """``left_usd``: of the budget, where it is to be kept."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": step.name,
            "namespace": job.metadata.namespace,
            "labels": {
                LABEL_COMPRESSION_UID: job.metadata.uid,
                LABEL_COMPRESSION_NAME: job.metadata.name,
                LABEL_STAGE: step.stage,
            },
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": COMPRESSION_KIND,
                    "name": job.metadata.name,
                    "uid": job.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": _spec(job, origin, step, trainer_image, left_usd),
    }


def _spec(
    job: CompressionJob, origin: Origin, step: Step, trainer_image: str, left_usd: Decimal | None
) -> dict[str, Any]:
    theirs = origin.spec or TrainingJobSpec()
    asked = job.spec
    image = asked.image or theirs.image
    env = {"PACELINE_OUTPUT_DIR": step.folder, **step.env}
    own = {"name": TRAINER_CONTAINER, "env": [{"name": name, "value": value} for name, value in env.items()]}
    template = merge(theirs.template.wire(), asked.template.wire())
    checkpoint = asked.checkpoint or theirs.checkpoint
    spec: dict[str, Any] = {
        "nodes": step.nodes,
        "resources": (asked.resources or theirs.resources).wire(),
        "template": merge(template, {"spec": {"containers": [own]}}),
        "network": (asked.network or theirs.network).wire(),
        "rendezvous": theirs.rendezvous.wire(),
        "restarts": asked.restarts.wire(),
        "deadlines": asked.deadlines.wire(),
        "cost": _cost(job, left_usd),
    }
    if theirs.shared_memory is not None:
        spec["sharedMemory"] = theirs.shared_memory
    if checkpoint is not None:
        spec["checkpoint"] = checkpoint.wire()
    if step.trains:
        spec["recipe"] = {"name": origin.recipe.name, "params": step.params}
        spec["processesPerNode"] = theirs.processes_per_node
        return spec | ({"image": image} if image else {})
    request = json.dumps(step.request, sort_keys=True)
    command = ["torchrun", "-m", "paceline_trainer.compress", "--request", request]
    return {**spec, "image": image or trainer_image, "command": command, "processesPerNode": 1}


def _cost(job: CompressionJob, left_usd: Decimal | None) -> dict[str, Any]:
    cost = job.spec.cost.wire()
    cost.pop("budget", None)
    kept = budget(job, left_usd)
    return cost | ({"budget": kept} if kept else {})


def budget(job: CompressionJob, left_usd: Decimal | None) -> dict[str, Any] | None:
    """Of a step: what the other steps leave of the job's. It acts within the step, which saves first."""
    whole = job.spec.cost.budget
    if whole is None or left_usd is None or whole.on_exceed == "Warn":
        return None
    return {
        "maxUSD": f"{max(left_usd, Decimal(0)).normalize():f}",
        "warnAtRatio": "1",
        "onExceed": whole.on_exceed,
        "onForecastExceed": "Ignore",
    }

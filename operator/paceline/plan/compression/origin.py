"""What is compressed: where the model lies, and how it was trained. Or why it is not to be had yet, or never."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paceline.api import TRAINER_CONTAINER
from paceline.api import conditions as c
from paceline.api.compressionjob import CompressionJob
from paceline.api.spec import Recipe, TrainingJobSpec
from paceline.api.trainingjob import TrainingJob
from paceline.render.checkpoints import MOUNT


@dataclass(frozen=True)
class Origin:
    """``spec``: of the TrainingJob that it is from, whose pods' surroundings the stages get."""

    path: str
    sha256: str
    recipe: Recipe
    spec: TrainingJobSpec | None = None
    cost_usd: str | None = None


@dataclass(frozen=True)
class Missing:
    """``final``: waiting does not help."""

    reason: str
    message: str
    final: bool = False


def find(job: CompressionJob, source: TrainingJob | None) -> Origin | Missing:
    given = job.spec.source.model
    if given is not None:
        return Origin(given.path.rstrip("/"), "", given.recipe)
    ref = job.spec.source.training_job_ref
    assert ref is not None, "a CEL rule asks for one of trainingJobRef and model"
    name = f"tj/{ref.name}"
    if source is None:
        return Missing("SourceNotFound", f"{name} is not there (yet): waiting for it")
    if source.spec.recipe is None:
        return Missing(
            "SourceHasNoRecipe",
            f"{name} runs a command: only what a recipe has trained can be evaluated and trained on; take a job with "
            "spec.recipe, or source.model with the recipe of the model",
            final=True,
        )
    if c.holds(source.status.conditions, c.FAILED):
        return Missing("SourceFailed", f"{name} has failed: {source.status.message}; waiting for one that succeeds")
    if not c.holds(source.status.conditions, c.COMPLETE):
        return Missing("SourceNotFinished", f"{name} is {source.status.phase or 'new'}: waiting for its end")
    model = source.status.model
    if model is None or not model.path:
        return Missing("SourceWithoutModel", f"{name} has ended without a model: it did not report one")
    if not _kept(model.path, source.spec):
        return Missing(
            "ModelNotKept",
            f"the model of {name} was written to {model.path}, on no volume: it is gone with its pod. Set PACELINE_OUTPUT_DIR "
            "in its template to a folder on a volume, and train again",
        )
    cost = source.status.cost.accrued_usd if source.status.cost else None
    return Origin(model.path.rstrip("/"), model.sha256 or "", source.spec.recipe, source.spec, cost)


def _kept(path: str, spec: TrainingJobSpec) -> bool:
    return any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in _mounts(spec))


def _mounts(spec: TrainingJobSpec) -> Iterable[str]:
    """Where volumes that outlive a pod are mounted in the training container."""
    if spec.checkpoint and spec.checkpoint.volume and not spec.checkpoint.volume.empty_dir:
        yield MOUNT
    template: dict[str, Any] = spec.template.spec.wire()
    lasting = {v["name"] for v in template.get("volumes") or () if "emptyDir" not in v}
    for container in template.get("containers") or ():
        if container.get("name") == TRAINER_CONTAINER:
            yield from (m["mountPath"] for m in container.get("volumeMounts") or () if m.get("name") in lasting)

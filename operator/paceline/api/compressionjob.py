"""``CompressionJob``: what the user asks for, and the object. Descriptions, defaults and CEL rules here become the CRD."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from paceline.api.base import ApiModel
from paceline.api.budget import Cost, number, ratio
from paceline.api.compression_rules import GATE_RULES, METRICS, STAGE_LIST_RULES
from paceline.api.compression_status import CompressionJobStatus
from paceline.api.rules import exactly_one, rules
from paceline.api.spec import Network, Recipe, Resources, Template
from paceline.api.survival import CHECKPOINT_RULES, Checkpoint, Deadlines, Restarts
from paceline.api.trainingjob import Metadata

Method = Literal[
    "prune.structured",
    "prune.unstructured",
    "distill.soft",
    "distill.pseudoLabel",
    "finetune",
    "quantize.dynamic",
    "quantize.static",
    "quantize.weightOnly",
    "quantize.qat",
]
MOST_STAGES, MOST_TRIALS = 8, 10


class TrainingJobRef(ApiModel):
    """A TrainingJob of the same namespace."""

    name: str = Field(
        min_length=1, max_length=63, description="Its name. It may still be training, or not be there yet."
    )


class SourceModel(ApiModel):
    """A model that lies on a volume already, as a recipe left it."""

    path: str = Field(
        min_length=1,
        max_length=1024,
        pattern="^/.+",
        description="Its folder, as the pods see it; spec.template mounts the volume.",
    )
    recipe: Recipe = Field(description="The recipe that it was trained by, with its parameters.")


class Source(ApiModel):
    """What is to be compressed."""

    training_job_ref: TrainingJobRef | None = Field(
        default=None, description="The model that a TrainingJob with a recipe leaves; waited for."
    )
    model: SourceModel | None = Field(default=None, description="A model that is there already.")


class Target(ApiModel):
    """How far a stage goes. With onGateFail: Backoff each further trial halves the distance to the source."""

    macs_ratio: str | None = Field(
        default=None,
        max_length=12,
        description='Of prune.structured: multiply-accumulates that are left, of 1, e.g. "0.5".',
        json_schema_extra=ratio("target.macsRatio"),
    )
    parameters_ratio: str | None = Field(
        default=None,
        max_length=12,
        description="Of prune.structured, instead of macsRatio: parameters that are left, of 1.",
        json_schema_extra=ratio("target.parametersRatio"),
    )
    sparsity: str | None = Field(
        default=None,
        max_length=12,
        description="Of prune.unstructured: share of the weights that become zero.",
        json_schema_extra=ratio("target.sparsity"),
    )
    layers: int | None = Field(
        default=None, ge=1, le=64, description="Of distill.*, of a text model: encoder layers of the student."
    )


class Stage(ApiModel):
    """One step: a conversion, or a training that the source's recipe does with other parameters."""

    name: str = Field(
        max_length=20,
        pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="Its name in the report, and in the names of its TrainingJobs.",
    )
    method: Method = Field(description="What is done; `paceline methods` lists them with their parameters.")
    target: Target = Field(default=Target(), description="How far it goes; prune.* needs one.")
    backend: Literal["onnxruntime", "torchao"] | None = Field(
        default=None,
        description="Of quantize.*, what runs the result: onnxruntime for dynamic and static, torchao for the others.",
    )
    params: dict[str, Any] = Field(
        default={},
        description="The method's parameters; a stage that trains takes those of the source's recipe, whose values it begins "
        "with.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    nodes: int | None = Field(default=None, ge=1, le=1000, description="Of a stage that trains. Default: spec.nodes.")


class Gate(ApiModel):
    """A condition that a compressed model must meet, measured beside the source."""

    metric: str = Field(max_length=32, description=f"One of {', '.join(METRICS)}.")
    goal: Literal["maxDrop", "minReduction", "minValue", "maxValue"] = Field(
        description="maxDrop: a score is worse than the source's by value at most. minReduction: size, work or latency is less "
        "than the source's by this share at least. minValue, maxValue: whatever the source has."
    )
    value: str = Field(
        max_length=26, description='A decimal string, e.g. "0.01".', json_schema_extra=number("gates.value")
    )
    relative: bool = Field(default=False, description="Of maxDrop: value is a share of the source's score.")


class Measure(ApiModel):
    """How size, speed and score are measured; gains hold for these settings only, and the report names them."""

    batch: int = Field(default=1, ge=1, le=4096, description="Samples of one call.")
    threads: int = Field(default=1, ge=1, le=256, description="Threads of the runtime.")
    device: Literal["cpu"] = Field(default="cpu", description="What it runs on.")
    runs: int = Field(default=200, ge=200, le=100_000, description="Timed calls of each model, interleaved.")
    tokens: int = Field(default=32, ge=1, le=4096, description="Length of the texts, of a text model.")


class Serving(ApiModel):
    """What serving is reckoned with: dollars for a million requests, before and after."""

    requests_per_month: int | None = Field(
        default=None,
        ge=1,
        le=10**15,
        description="For dollars a month, and the time until the compression is paid for.",
    )
    hardware: str = Field(
        default="cpu",
        min_length=1,
        max_length=63,
        description="cpu: the share of a node that the serving check had. Or a machine of the price book, e.g. c7i.4xlarge.",
    )
    utilization: str = Field(
        default="0.4",
        max_length=12,
        description="Share of the time that servers have requests to answer.",
        json_schema_extra=ratio("serving.utilization"),
    )
    check_seconds: int = Field(
        default=60, ge=5, le=3600, description="How long the exported model is served under load, as is the source."
    )


class CompressionJobSpec(ApiModel):
    """What to compress, by which stages, and what the result must keep to."""

    source: Source = Field(
        description="What is to be compressed.",
        json_schema_extra=rules(exactly_one("source", ("trainingJobRef", "model"))),
    )
    stages: list[Stage] = Field(
        min_length=1,
        max_length=MOST_STAGES,
        description="Run in order, each on what the one before it left.",
        json_schema_extra=STAGE_LIST_RULES,
    )
    gates: list[Gate] = Field(
        default=[],
        max_length=16,
        description="Scores are judged after every stage that is not followed by a training; everything is at the end.",
        json_schema_extra=GATE_RULES,
    )
    on_gate_fail: Literal["Stop", "KeepBest", "Backoff"] = Field(
        default="Stop",
        description="Stop ends the job and withholds the model. KeepBest takes the last stage that met its gates. Backoff tries "
        "weaker targets, at most maxTrials times, until all gates are met.",
    )
    max_trials: int = Field(default=4, ge=1, le=MOST_TRIALS, description="Of Backoff: trials in all.")
    export: list[Literal["safetensors", "onnx", "torchExport"]] = Field(
        default=["safetensors", "onnx"],
        min_length=1,
        max_length=3,
        description="Formats of the artifact, as far as the last stage's model has them; each is read again in a fresh process.",
    )
    measure: Measure = Field(default=Measure(), description="How size, speed and score are measured.")
    serving: Serving = Field(default=Serving(), description="What serving is reckoned with.")
    output: str | None = Field(
        default=None,
        max_length=1024,
        pattern="^/.+",
        description="Folder on a volume of the pods for stages and artifact. Default: the source's folder, with -NAME behind.",
    )
    nodes: int = Field(default=1, ge=1, le=1000, description="Workers of a stage that trains; conversions have one.")
    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Default: the source's image, or the trainer image."
    )
    resources: Resources | None = Field(default=None, description="Of every pod. Default: the source's.")
    template: Template = Field(default=Template(), description="Pod template, merged over the source's.")
    network: Network | None = Field(default=None, description="Default: the source's.")
    restarts: Restarts = Field(default=Restarts(), description="How often what may be started again, in each stage.")
    checkpoint: Checkpoint | None = Field(
        default=None,
        description="Where stages that train save. Default: the source's.",
        json_schema_extra=CHECKPOINT_RULES,
    )
    deadlines: Deadlines = Field(default=Deadlines(), description="When to give up a stage.")
    cost: Cost = Field(default=Cost(), description="What all stages of all trials cost together, and may cost.")
    suspend: bool = Field(default=False, description="true saves and ends all pods; false goes on.")
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=315360000,
        description="Delete the job and its TrainingJobs this many seconds after it has ended; the artifact stays.",
    )


class CompressionJob(ApiModel):
    metadata: Metadata
    spec: CompressionJobSpec
    status: CompressionJobStatus = Field(default=CompressionJobStatus())

    @property
    def key(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> CompressionJob:
        """From the API server's JSON. Raises pydantic.ValidationError where the object is not of this schema."""
        return cls.model_validate(obj)

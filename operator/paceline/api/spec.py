"""``TrainingJob.spec``: what the user asks for. Descriptions, defaults and CEL rules here become the CRD (see crd.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from paceline.api.base import ApiModel, OpenModel
from paceline.api.budget import Cost
from paceline.api.rules import cel, rules, unchanged
from paceline.api.survival import CHECKPOINT_RULES, ELASTIC_RULES, Checkpoint, Deadlines, Elastic, NodeLoss, Restarts

# Set by the operator so that agents find their own store and generation; a template that set them would split the gang.
RESERVED_ENV = (
    "PET_NNODES",
    "PET_RDZV_BACKEND",
    "PET_RDZV_ENDPOINT",
    "PET_RDZV_ID",
    "PET_RDZV_CONF",
    "PET_LOCAL_ADDR",
    "PET_NODE_RANK",
    "PET_STANDALONE",
)


class Recipe(ApiModel):
    """A ready program of the trainer image."""

    name: str = Field(
        min_length=1,
        max_length=63,
        description="Name of the recipe, e.g. image-classification; `paceline recipes` lists them.",
    )
    params: dict[str, Any] = Field(
        default={},
        description="The recipe's parameters, checked against its published schema (`paceline recipes NAME`).",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class Resources(ApiModel):
    """Resources of the training container, as in a pod."""

    limits: dict[str, int | str] = Field(
        default={}, max_length=32, description='Limits, e.g. {nvidia.com/gpu: 8, cpu: "64", memory: 512Gi}.'
    )
    requests: dict[str, int | str] = Field(
        default={}, max_length=32, description="Requests; what is absent equals the limit, as in any pod."
    )


class TemplateEnv(OpenModel):
    """One environment variable."""

    name: str = Field(max_length=256, description="Name of the variable.")


class TemplateContainer(OpenModel):
    """A container of the pod template, with any field that a PodSpec's container has."""

    name: str = Field(
        max_length=63,
        description="Name; the one named `trainer` is merged into the training container, others are sidecars.",
    )
    env: list[TemplateEnv] | None = Field(
        default=None, max_length=128, description="Environment; wins over what the operator sets."
    )


class TemplateMetadata(ApiModel):
    """Labels and annotations that every worker pod gets."""

    labels: dict[str, str] = Field(
        default={}, max_length=64, description="Labels; those of paceline.dev/ are the operator's."
    )
    annotations: dict[str, str] = Field(default={}, max_length=64, description="Annotations.")


class TemplateSpec(OpenModel):
    """A PodSpec (volumes, tolerations, affinity, securityContext, containers …), merged over the operator's; lists by name."""

    containers: list[TemplateContainer] | None = Field(
        default=None,
        max_length=16,
        description="Containers by name.",
        json_schema_extra=rules(
            cel(
                f"self.all(c, !has(c.env) || c.env.all(e, !(e.name in {list(RESERVED_ENV)!r})))",
                "the rendezvous variables ("
                + ", ".join(RESERVED_ENV)
                + ") are set by the operator; use spec.rendezvous instead",
            )
        ),
    )


class Template(ApiModel):
    """Pod template, merged over what the operator builds for each worker."""

    metadata: TemplateMetadata = Field(
        default=TemplateMetadata(), description="Labels and annotations of the worker pods."
    )
    spec: TemplateSpec = Field(default=TemplateSpec(), description="PodSpec fields of the worker pods.")


class Network(ApiModel):
    """How the workers talk to each other."""

    profile: Literal["auto", "tcp"] = Field(
        default="auto", description="auto leaves the choice to NCCL; tcp switches InfiniBand off and uses sockets."
    )
    interface: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[=^]?[A-Za-z0-9_.,-]+$",
        description="Network interface for NCCL and gloo, e.g. eth0. Default: eth0 with profile tcp, otherwise theirs.",
    )
    env: dict[str, str] = Field(default={}, max_length=64, description="Further variables, e.g. {NCCL_DEBUG: WARN}.")


class Rendezvous(ApiModel):
    """How torchrun's agents find each other (c10d, over a store in a pod of the job's own)."""

    last_call_seconds: int = Field(
        default=2,
        ge=0,
        le=3600,
        description="How long a complete-enough group waits for late agents (torch's own default: 30).",
    )
    keep_alive_seconds: int = Field(
        default=2,
        ge=1,
        le=600,
        description="Heartbeat of an agent; three missed ones and it is gone (torch's own default: 5).",
    )
    join_timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86400,
        description="How long an agent waits for the group to be complete before it gives up.",
    )
    conf: dict[str, str] = Field(
        default={}, max_length=32, description="Any further key of torchrun --rdzv-conf; wins over the fields above."
    )


class Progress(ApiModel):
    """How the job's progress gets into its status."""

    enabled: bool = Field(
        default=True,
        description="Give the pods the endpoint and token with which Hugging Face Trainer and the recipes report by themselves.",
    )
    log_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="RE2 pattern that finds progress in the workers' log lines, by named groups: step, total, epoch, loss, any "
        r"other metric, e.g. step=(?P<step>\d+)/(?P<total>\d+) loss=(?P<loss>[\d.]+)",
        json_schema_extra=rules(
            cel("self.contains('(?P<step>')", r"logPattern needs a group named step, e.g. step=(?P<step>\d+)"),
            # matches() on a pattern that does not compile is an error, and error || error is one too: refused at apply.
            cel("''.matches(self) || !(''.matches(self))", "logPattern is not a valid RE2 regular expression"),
        ),
    )


class TrainingJobSpec(ApiModel):
    """What to train, on how many nodes, and when to give up."""

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Image with torch and torchrun. Default for recipes: the trainer image that the operator was installed with.",
    )
    command: list[Annotated[str, Field(max_length=8192)]] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description='The program, e.g. [torchrun, /src/train.py, --epochs, "3"]. torchrun\'s options are set through its '
        "environment, so a command that runs anywhere else runs unchanged.",
    )
    recipe: Recipe | None = Field(default=None, description="A ready program of the trainer image, instead of command.")
    nodes: int = Field(
        default=1, ge=1, le=1000, description="Number of worker pods (each one node's worth of devices)."
    )
    elastic: Elastic | None = Field(
        default=None,
        description="Sizes that the gang may train at. Absent: always spec.nodes.",
        json_schema_extra=ELASTIC_RULES,
    )
    processes_per_node: int | str = Field(
        default="auto",
        description="Training processes in each pod: auto (one per GPU, or per CPU where there is none), gpu, cpu, or a number.",
        json_schema_extra=rules(
            cel(
                "type(self) == int ? self >= 1 && self <= 1024 : self in ['auto', 'gpu', 'cpu']",
                "processesPerNode must be auto, gpu, cpu or a number from 1 to 1024",
            )
        ),
    )
    resources: Resources = Field(default=Resources(), description="Resources of the training container.")
    template: Template = Field(default=Template(), description="Pod template, merged over the operator's worker pod.")
    shared_memory: int | str | None = Field(
        default=None,
        description="Size of the tmpfs at /dev/shm, e.g. 8Gi. Default: half the memory limit, or no limit of its own where there "
        'is none. "0" leaves the container runtime\'s 64 MiB.',
    )
    network: Network = Field(default=Network(), description="How the workers talk to each other.")
    rendezvous: Rendezvous = Field(default=Rendezvous(), description="How torchrun's agents find each other.")
    progress: Progress = Field(default=Progress(), description="How progress is reported.")
    restarts: Restarts = Field(default=Restarts(), description="How often what may be started again.")
    node_loss: NodeLoss = Field(default=NodeLoss(), description="When a node that does not answer is given up.")
    checkpoint: Checkpoint | None = Field(
        default=None, description="Where and how often the program saves.", json_schema_extra=CHECKPOINT_RULES
    )
    deadlines: Deadlines = Field(default=Deadlines(), description="When to give up.")
    cost: Cost = Field(default=Cost(), description="What the job's machines cost, and may cost.")
    suspend: bool = Field(default=False, description="true ends all pods and keeps the job; false starts it again.")
    clean_pod_policy: Literal["Running", "All", "None"] = Field(
        default="Running",
        description="What becomes of worker pods when the job has ended: delete those still Running, All, or None.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=315360000,
        description="Delete the job this many seconds after it has ended. Default: keep it.",
    )


SPEC_RULES = [
    cel("has(self.command) != has(self.recipe)", "exactly one of spec.command and spec.recipe is needed"),
    cel("!has(self.command) || has(self.image)", "spec.command needs spec.image: the image that the command runs in"),
    cel(
        "!has(self.elastic) || (self.nodes >= self.elastic.minNodes && "
        "(!has(self.elastic.maxNodes) || self.nodes <= self.elastic.maxNodes))",
        "spec.nodes must lie between elastic.minNodes and elastic.maxNodes",
    ),
    cel(
        "!has(self.elastic) || !has(self.elastic.allowedNodes) || self.nodes in self.elastic.allowedNodes",
        "spec.nodes must be one of elastic.allowedNodes",
    ),
    cel(
        "!has(self.elastic) || !has(self.elastic.step) || (self.nodes - self.elastic.minNodes) % self.elastic.step == 0",
        "spec.nodes must be elastic.minNodes plus a multiple of elastic.step",
    ),
    unchanged("command"),
    unchanged("recipe"),
    unchanged("image"),
    unchanged("checkpoint.volume"),
    unchanged("checkpoint.uri"),
    unchanged("elastic.minNodes"),
]
OBJECT_RULES = [
    cel("size(self.metadata.name) <= 52", "metadata.name must have at most 52 characters: pod names add to it"),
    cel(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be lower-case letters, digits and '-', starting with a letter: it becomes a DNS name",
    ),
]

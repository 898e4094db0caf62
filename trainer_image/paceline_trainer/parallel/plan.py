"""How a run is spread over its processes: the parameters, which every recipe takes. Loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paceline_trainer.params import MANY, SOME, Refusal, param

AGGREGATIONS = ("none", "fp16", "bf16", "powersgd")


@dataclass(frozen=True)
class Plan:
    """What is not divided by pipeline and tensor is data parallel."""

    divided_by: ClassVar = ("pipeline_stages", "tensor_parallel")
    refusals: ClassVar[tuple[Refusal, ...]] = (
        Refusal({"tensor_parallel": MANY, "parallel": "ddp"}, "replicas of divided layers need parallel: fsdp"),
        *(
            Refusal({"aggregation": how, "parallel": "fsdp"}, f"{how} needs parallel: ddp, which sends whole gradients")
            for how in AGGREGATIONS[1:]
        ),
        *(
            Refusal({name: MANY, "parallel": "server"}, "workers of a parameter server have all layers: parallel: fsdp")
            for name in ("tensor_parallel", "pipeline_stages")
        ),
        *(
            Refusal(
                {"aggregation": how, "parallel": "server"},
                f"{how} needs parallel: ddp; a server is sent whole gradients",
            )
            for how in AGGREGATIONS[1:]
        ),
        Refusal({"local_steps": MANY, "parallel": "server"}, "workers of a parameter server share every gradient"),
        *(
            Refusal(
                {"staleness": SOME, "parallel": how},
                "only a parameter server has workers that go ahead: parallel: server",
            )
            for how in ("ddp", "fsdp")
        ),
        Refusal(
            {"local_steps": MANY, "parallel": "fsdp"}, "replicas that take local steps hold all weights: parallel: ddp"
        ),
        Refusal(
            {"local_steps": MANY, "pipeline_stages": MANY},
            "replicas that take local steps hold all layers: no pipeline",
        ),
        *(
            Refusal({"aggregation": how, "local_steps": MANY}, f"{how} is of gradients, and local steps share weights")
            for how in AGGREGATIONS[1:]
        ),
        Refusal(
            {"accumulate": MANY, "pipeline_stages": MANY},
            "a pipeline accumulates over its microbatches already: set microbatches instead, and accumulate to 1",
        ),
    )

    parallel: str = param(
        "ddp",
        "Data-parallel processes hold all weights (ddp) or a part each (fsdp), or send one of them, which updates the weights, "
        "their gradients (server).",
        choices=("ddp", "fsdp", "server"),
    )
    staleness: int = param(
        0,
        "Steps that a worker may be ahead of the slowest (parallel: server); 0 is in lockstep.",
        minimum=0,
        maximum=10_000,
    )
    tensor_parallel: int = param(1, "Processes that share every divisible layer's features.", minimum=1, maximum=64)
    pipeline_stages: int = param(
        1, "Processes that have some of the layers each, one behind the other.", minimum=1, maximum=64
    )
    microbatches: int = param(4, "Parts of a batch that are in a pipeline at the same time.", minimum=1, maximum=256)
    accumulate: int = param(
        1, "Parts of a batch that are computed one after the other, to save memory.", minimum=1, maximum=1024
    )
    aggregation: str = param("none", "What gradients are turned into to be sent (ddp only).", choices=AGGREGATIONS)
    powersgd_rank: int = param(
        1, "Rank of PowerSGD's approximation: higher is closer, and more bytes.", minimum=1, maximum=64
    )
    local_steps: int = param(
        1,
        "Steps that replicas take alone before they average their weights (local SGD, ddp only); 1 shares every gradient.",
        minimum=1,
        maximum=100_000,
    )
    bucket_mb: int = param(
        25, "Gradients are sent in buckets of this size, while backward goes on (ddp only).", minimum=1, maximum=1024
    )

"""How the weights are updated: the parameters, which every recipe takes. Loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paceline_trainer.params import MANY, SOME, Refusal, param

COMPILE_MODES = ("off", "default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Optimization:
    """Rate, precision, clipping, and what is done when a step goes wrong."""

    refusals: ClassVar[tuple[Refusal, ...]] = (
        Refusal(
            {"clip_norm": SOME, "clip_value": SOME}, "gradients are clipped by their norm or by value: set one of them"
        ),
        Refusal(
            {"precision": "fp16", "pipeline_stages": MANY}, "stages do not know of each other's overflows: take bf16"
        ),
        *(
            Refusal({"compile": mode, "pipeline_stages": MANY}, "a pipeline's stages are not compiled: compile off")
            for mode in COMPILE_MODES[1:]
        ),
    )

    schedule: str = param(
        "constant", "How the learning rate goes on after the warm-up.", choices=("constant", "cosine", "linear", "step")
    )
    warmup_steps: int = param(
        0, "Steps in which the learning rate rises in a line from 0.", minimum=0, maximum=1_000_000
    )
    lr_floor: float = param(0.0, "Where cosine and linear end, as a share of lr.", minimum=0.0, maximum=1.0)
    lr_every: int = param(100, "Steps between two drops of the schedule step.", minimum=1, maximum=1_000_000)
    lr_gamma: float = param(0.1, "What each such drop multiplies the rate by.", minimum=0.0, maximum=1.0)
    clip_norm: float = param(0.0, "Limit of the gradients' global norm; 0 is none.", minimum=0.0, maximum=1e9)
    clip_value: float = param(0.0, "Limit of each gradient element; 0 is none.", minimum=0.0, maximum=1e9)
    precision: str = param(
        "fp32", "Arithmetic of forward and backward; weights stay float32.", choices=("fp32", "bf16", "fp16", "fp8")
    )
    recompute_activations: bool = param(
        False, "Keep only what layers are given, and compute the rest again in backward: less memory, more time."
    )
    compile: str = param(
        "off",
        "Mode of torch.compile; reduce-overhead uses CUDA graphs on a GPU.",
        choices=COMPILE_MODES,
    )
    on_anomaly: str = param(
        "stop",
        "What to do about a loss or gradient that is not finite, a spike or an explosion.",
        choices=("stop", "skip", "roll-back"),
    )
    spike: float = param(
        0.0, "A loss this many robust deviations above the latest is a spike; 0 is never.", minimum=0.0, maximum=1e6
    )
    explosion: float = param(
        0.0, "A gradient norm this many times the latest is an explosion; 0 is never.", minimum=0.0, maximum=1e6
    )

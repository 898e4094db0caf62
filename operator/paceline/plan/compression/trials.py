"""Weaker targets, trial by trial: each halves the distance to the source."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from paceline.api.compressionjob import Stage, Target
from paceline.plan.compression.gates import plain


def stages_of(stages: Sequence[Stage], trial: int, all_layers: int) -> list[Stage]:
    """As the trial (from 1) has them; ``all_layers``: of the source."""
    return [stage.model_copy(update={"target": weaker(stage.target, trial, all_layers)}) for stage in stages]


def weaker(target: Target, trial: int, all_layers: int) -> Target:
    """Of a ratio the distance to 1 is halved, of a sparsity the distance to 0, of layers (rounded up) that to all of them."""
    part = Decimal(1) / 2 ** (trial - 1)

    def ratio(text: str | None) -> str | None:
        return None if text is None else plain(1 - (1 - Decimal(text)) * part)

    layers = target.layers
    return Target(
        macs_ratio=ratio(target.macs_ratio),
        parameters_ratio=ratio(target.parameters_ratio),
        sparsity=None if target.sparsity is None else plain(Decimal(target.sparsity) * part),
        layers=None if layers is None else max(layers, all_layers - int((all_layers - layers) * part)),
    )


def words(target: Target) -> str:
    """For people: "macsRatio 0.5"; empty where there is none."""
    return ", ".join(f"{name} {value}" for name, value in target.wire().items())

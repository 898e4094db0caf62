"""What the operator has seen of a CompressionJob, and what a plan for one asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paceline.api import conditions as c
from paceline.api.compression_status import CompressionJobStatus
from paceline.api.trainingjob import TrainingJob
from paceline.cost.prices import Machine
from paceline.plan.actions import Announce, DeleteJob
from paceline.plan.recipes import Catalogue


@dataclass(frozen=True)
class Seen:
    """``source``: the TrainingJob that is referred to, if it is there. ``children``: the job's own TrainingJobs, by name."""

    source: TrainingJob | None
    children: Mapping[str, TrainingJob]
    recipes: Catalogue
    methods: Catalogue
    trainer_image: str
    books: Mapping[str, Sequence[Machine]] = field(default_factory=dict)
    # The API server's words, where it refused a TrainingJob.
    refused: str = ""


@dataclass(frozen=True, slots=True)
class CreateChild:
    """A TrainingJob of the job's own."""

    name: str
    manifest: dict[str, Any]

    def __str__(self) -> str:
        return f"CreateChild(name={self.name!r})"


@dataclass(frozen=True, slots=True)
class PatchChild:
    """A merge patch of its spec."""

    name: str
    uid: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteChild:
    name: str
    uid: str


CompressionAction = CreateChild | PatchChild | DeleteChild | DeleteJob | Announce


@dataclass(frozen=True, slots=True)
class CompressionPlan:
    """Actions to take now, the status that follows, and when to look again (Unix seconds) if nothing happens before."""

    status: CompressionJobStatus
    actions: tuple[CompressionAction, ...] = ()
    wake_at: float | None = None


def ended(child: TrainingJob) -> bool:
    return c.holds(child.status.conditions, c.COMPLETE) or c.holds(child.status.conditions, c.FAILED)


def figures(child: TrainingJob) -> dict[str, Decimal]:
    """What a TrainingJob has measured of its model, by name; empty where it has not said."""
    model = child.status.model
    return {m.name: Decimal(m.value) for m in (model.metrics or [] if model else []) if _is_number(m.value)}


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except ArithmeticError:
        return False

"""A status in the making: what every kind's plan writes, and the actions that go with it."""

from __future__ import annotations

from typing import Any, Generic, Protocol, Self, TypeVar

from paceline.api import conditions as c
from paceline.api.base import at
from paceline.api.status import Condition, Phase
from paceline.plan.actions import Announce


class Status(Protocol):
    """What the kinds' statuses have in common."""

    @property
    def conditions(self) -> list[Condition]: ...

    def model_copy(self, *, update: dict[str, Any]) -> Self: ...


S = TypeVar("S", bound=Status)
A = TypeVar("A")


class Writing(Generic[S, A]):
    """``A``: the actions of the kind."""

    def __init__(self, status: S, generation: int, now: float) -> None:
        self.status: S = status
        self.now = now
        self.actions: list[A | Announce] = []
        self._generation = generation
        self._wakes: list[float] = []

    def holds(self, condition: str) -> bool:
        return c.holds(self.status.conditions, condition)

    def set(self, **fields: Any) -> None:
        self.status = self.status.model_copy(update=fields)

    def condition(self, type_: str, status: bool, reason: str, message: str) -> None:
        new = c.put(
            self.status.conditions, type_, status, reason, message, now=at(self.now), generation=self._generation
        )
        self.set(conditions=new)

    def clear(self, type_: str, reason: str, message: str) -> None:
        """The condition, if it was ever true, is so no longer."""
        if self.holds(type_):
            self.condition(type_, False, reason, message)

    def say(self, phase: Phase, message: str) -> None:
        self.set(phase=phase, message=message)

    def announce(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.actions.append(Announce(reason, message, "Warning" if warning else "Normal"))

    def wake(self, when: float | None) -> None:
        if when is not None:
            self._wakes.append(when)

    @property
    def wake_at(self) -> float | None:
        return min(self._wakes, default=None)

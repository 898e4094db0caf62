"""Where the time went: every millisecond since a job's creation, and every dollar, belongs to one part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

Part = Literal[
    "queued", "pulling", "starting", "rendezvous", "training", "checkpoint", "evaluation", "lost", "recovering", "suspended"
]  # fmt: skip
PARTS: tuple[Part, ...] = get_args(Part)
PRODUCTIVE: tuple[Part, ...] = ("training", "checkpoint", "evaluation")
# What failures take.
FAILURES: tuple[Part, ...] = ("lost", "recovering")
# In these no pod is bound, or none should be: they say nothing about how well the devices were used.
WAITING: tuple[Part, ...] = ("queued", "suspended")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a job's time is judged by. ``wanted`` workers, of which ``bound`` have a node and ``running`` run."""

    wanted: int
    bound: int
    running: int
    suspended: bool = False
    recovering: bool = False
    whole: bool = False
    # A step was reported in this attempt; None: the program never reports any.
    stepped: bool | None = None


def part_of(at: Moment) -> Part:
    """The first that holds."""
    if at.suspended:
        return "suspended"
    if at.recovering:
        return "recovering"
    if at.whole:
        return "starting" if at.stepped is False else "training"
    if at.running:
        return "rendezvous"  # the first wait for the last
    return "pulling" if at.wanted and at.bound >= at.wanted else "queued"


@dataclass(frozen=True, slots=True)
class Account:
    """``ms`` and ``usd`` by part. The milliseconds sum to the time since creation, the dollars to what the ledger says."""

    ms: Mapping[Part, int] = field(default_factory=dict)
    usd: Mapping[Part, Decimal] = field(default_factory=dict)
    # The part that time goes to until something changes.
    part: Part = "queued"

    @property
    def total_ms(self) -> int:
        return sum(self.ms.values())

    def advance(self, wall_ms: int, accrued: Decimal, part: Part) -> Account:
        """To ``wall_ms`` since creation and ``accrued`` dollars; all that is new was the part that held until now."""
        ms = _given(self.ms, self.part, wall_ms - self.total_ms)
        usd = _given(self.usd, self.part, accrued - sum(self.usd.values(), Decimal(0)))
        return Account(ms, usd, part)

    def lose(self, steps: int, step_ms: int) -> Account:
        """Steps that a failure has taken back: their time and dollars were trained, and are lost."""
        return self.set_apart("lost", steps * step_ms)

    def set_apart(self, part: Part, ms: int) -> Account:
        """Of what was taken for training, this much was another part: its time, and as large a share of the dollars."""
        trained = self.ms.get("training", 0)
        moved = min(trained, ms)
        if not moved:
            return self
        dollars = (self.usd.get("training", Decimal(0)) * moved / trained).quantize(Decimal("0.0001"))
        return Account(_moved(self.ms, moved, part), _moved(self.usd, dollars, part), self.part)

    def ratio(self) -> float | None:
        """Productive time over the time that was not waiting for devices; None before there is any."""
        held = self.total_ms - sum(self.ms.get(part, 0) for part in WAITING)
        return sum(self.ms.get(part, 0) for part in PRODUCTIVE) / held if held else None

    def pace(self) -> float | None:
        """Productive time over what it and failures took: the share of further time that will train. The start is over, and
        says nothing about the rest. None before anything was trained."""
        trained = sum(self.ms.get(part, 0) for part in PRODUCTIVE)
        failures = sum(self.ms.get(part, 0) for part in FAILURES)
        return trained / (trained + failures) if trained else None

    def failures_usd(self) -> Decimal:
        return sum((self.usd.get(part, Decimal(0)) for part in FAILURES), Decimal(0))


def _given(by: Mapping[Part, Any], part: Part, more: Any) -> dict[Part, Any]:
    """With ``more`` in the part. Less than nothing is taken back, from that part first: a pod ended before it was told, a
    completion time is a whole second that may lie before what was counted, a clock was set back."""
    zero = type(more)(0)
    found = {**by, part: by.get(part, zero) + max(zero, more)}
    for each in sorted(found, key=lambda p: (p == part, p in PRODUCTIVE, found[p]), reverse=True):
        back = min(found[each], max(zero, -more))
        found[each], more = found[each] - back, more + back
    return found


def _moved(by: Mapping[Part, Any], amount: Any, part: Part) -> dict[Part, Any]:
    return {**by, "training": by.get("training", 0) - amount, part: by.get(part, 0) + amount}


def forecast(spent: Decimal, rate: Decimal, remaining_seconds: float, pace: float) -> Decimal:
    """USD at the end: what was spent, and the remaining training at the present rate and pace (``Account.pace``)."""
    return spent + rate * Decimal(str(remaining_seconds)) / 3600 / Decimal(str(max(pace, 0.01)))

"""What the same work would take elsewhere: dollars, hours and devices over a price book."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from paceline.cost.prices import Machine, Purchase

# Dense BF16 peaks, in operations a second, as the makers' data sheets give them.
PEAKS = {
    "A100": 312e12,
    "A100-80GB": 312e12,
    "H100": 989e12,
    "H100-PCIE": 756e12,
    "H200": 989e12,
    "B200": 2.25e15,
    "L40S": 362e12,
    "MI300X": 1300e12,
}


@dataclass(frozen=True, slots=True)
class Work:
    """Hours that one device of this kind would need for all of it."""

    device_hours: float
    device: str

    def speed(self, device: str) -> float | None:
        """Of another kind of device, this one's being 1: by their peaks; None where one of them is unknown."""
        if device == self.device:
            return 1.0
        if device not in PEAKS or self.device not in PEAKS:
            return None
        return PEAKS[device] / PEAKS[self.device]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Share of a machine's speed that is left to each of so many machines, as measured; linear without measurements."""

    measured: tuple[tuple[int, float], ...] = ()

    def efficiency(self, machines: int) -> float | None:
        """In a line between what was measured; None beyond it: that would be a guess."""
        if not self.measured:
            return 1.0
        points = sorted({1: 1.0, **dict(self.measured)}.items())
        for (low, left), (high, right) in zip(points, points[1:] or points, strict=False):
            if low <= machines <= high:
                return left + (right - left) * (machines - low) / max(1, high - low)
        return None


@dataclass(frozen=True, slots=True)
class Preemptions:
    """Of a spot machine: how many an hour, and the hours that each takes from the whole job (steps again, and recovery)."""

    per_machine_hour: float = 0.0
    hours_lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Option:
    """One way to do the work. ``estimated``: its speed follows from peaks, not from a measurement."""

    machine: Machine
    purchase: Purchase
    machines: int
    hours: float
    usd: Decimal
    estimated: bool

    @property
    def devices(self) -> int:
        return self.machines * self.machine.accelerators

    @property
    def usd_per_hour(self) -> Decimal:
        return self.machines * self.machine.rates[self.purchase]


def option(
    machine: Machine, purchase: Purchase, machines: int, work: Work, scaling: Scaling, preemptions: Preemptions
) -> Option | None:
    """None where it cannot be told: the device's speed is unknown, so many machines were not measured, or they would be preempted
    more often than they get on. Billed in the machine's increments."""
    speed, efficiency = work.speed(machine.accelerator), scaling.efficiency(machines)
    if speed is None or efficiency is None or not machine.accelerators:
        return None
    hours = work.device_hours / (machines * machine.accelerators * speed * efficiency)
    if purchase == "spot":
        left = 1 - preemptions.per_machine_hour * machines * preemptions.hours_lost
        if left <= 0:
            return None
        hours /= left
    increment = machine.billing_increment_seconds
    billed = math.ceil(hours * 3600 / increment) * increment
    usd = machines * machine.rates[purchase] * billed / 3600
    return Option(machine, purchase, machines, hours, usd, estimated=machine.accelerator != work.device)


def options(
    book: Iterable[Machine],
    counts: Sequence[int],
    work: Work,
    scaling: Scaling,
    preemptions: Preemptions,
) -> list[Option]:
    """Every way with one of these numbers of machines, the cheapest first."""
    found = [
        option(machine, purchase, machines, work, scaling, preemptions)
        for machine in book
        for purchase in machine.rates
        for machines in counts
    ]
    return sorted((one for one in found if one is not None), key=lambda one: (one.usd, one.hours))


def of_size(
    book: Iterable[Machine], devices: int, work: Work, scaling: Scaling, preemptions: Preemptions
) -> list[Option]:
    """Every way with at least so many devices and no machine more than that takes, the cheapest first."""
    found = []
    for machine in book:
        if machine.accelerators:
            found += options([machine], [-(-devices // machine.accelerators)], work, scaling, preemptions)
    return sorted(found, key=lambda one: (one.usd, one.hours))


def cheapest(ways: Iterable[Option], within_hours: float = math.inf) -> Option | None:
    """Of those that cost the same to the cent, the fewest machines; None where nothing is done in time."""
    return min((w for w in ways if w.hours <= within_hours), key=lambda w: (round(w.usd, 2), w.machines), default=None)


def fastest(ways: Iterable[Option], under_usd: Decimal) -> Option | None:
    """The cheapest of the fastest; None where nothing is as cheap."""
    return min((w for w in ways if w.usd <= under_usd), key=lambda w: (w.hours, w.usd), default=None)

"""The price book: a CSV in the columns of SkyPilot's catalogue and some more, and the machines that it prices."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Purchase = Literal["on-demand", "spot", "owned"]
HOURS_OF_A_YEAR = 8760


class PriceBookError(ValueError):
    """The book cannot be read; the message has every line that is wrong, and why."""


class Row(BaseModel):
    """A line of the book. Money is in USD, of the whole machine and an hour where nothing else is said; empty is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance_type: str = Field(alias="InstanceType", min_length=1)
    accelerator: str = Field(default="", alias="AcceleratorName")
    accelerators: int = Field(default=0, alias="AcceleratorCount", ge=0)
    vcpus: Decimal | None = Field(default=None, alias="vCPUs", ge=0)
    memory_gib: Decimal | None = Field(default=None, alias="MemoryGiB", ge=0)
    gpu_info: str = Field(default="", alias="GpuInfo")
    price: Decimal | None = Field(default=None, alias="Price", ge=0)
    spot_price: Decimal | None = Field(default=None, alias="SpotPrice", ge=0)
    region: str = Field(default="", alias="Region")
    zone: str = Field(default="", alias="AvailabilityZone")
    billing_increment_seconds: int = Field(default=1, alias="billingIncrementSeconds", ge=1)
    includes_host: bool = Field(default=True, alias="includesHost")
    as_of: date = Field(alias="asOf")
    source: str = Field(alias="source", min_length=1)
    purchase_price: Decimal | None = Field(default=None, alias="purchasePrice", ge=0)
    life_years: Decimal | None = Field(default=None, alias="lifeYears", gt=0)
    power_watts: Decimal = Field(default=Decimal(0), alias="powerWatts", ge=0)
    power_price: Decimal = Field(default=Decimal(0), alias="powerPricePerKWh", ge=0)
    utilization: Decimal = Field(default=Decimal(1), alias="utilization", gt=0, le=1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if bool(self.accelerator) != bool(self.accelerators):
            raise ValueError("AcceleratorName and AcceleratorCount go together: set both or none")
        if self.price is None and self.spot_price is None and self.purchase_price is None:
            raise ValueError("there is no price: set Price, SpotPrice or purchasePrice")
        if (self.purchase_price is None) != (self.life_years is None):
            raise ValueError("purchasePrice and lifeYears go together: set both or none")
        if not self.includes_host and not self.accelerator:
            raise ValueError("includesHost=false is of accelerators without their machine: set AcceleratorName")
        return self

    @property
    def place(self) -> tuple[str, str, str]:
        return self.instance_type, self.region, self.zone

    def rates(self) -> dict[Purchase, Decimal]:
        """USD an hour by the way it is had. Of a machine that one owns: its price over the hours of its life in which it is
        used, and the power of an hour."""
        found: dict[Purchase, Decimal] = {}
        if self.price is not None:
            found["on-demand"] = self.price
        if self.spot_price is not None:
            found["spot"] = self.spot_price
        if self.purchase_price is not None and self.life_years is not None:
            hours = self.life_years * HOURS_OF_A_YEAR * self.utilization
            found["owned"] = self.purchase_price / hours + self.power_watts / 1000 * self.power_price
        return found


@dataclass(frozen=True, slots=True)
class Machine:
    """What can be had as a whole, with its host. ``rates``: USD an hour."""

    instance_type: str
    region: str
    zone: str
    accelerator: str
    accelerators: int
    rates: dict[Purchase, Decimal]
    billing_increment_seconds: int
    as_of: date
    source: str
    vcpus: Decimal | None = None

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.instance_type, self.zone or self.region) if part)


def parse(text: str) -> list[Machine]:
    """Lines that begin with # are comments. Accelerators that are listed without their machine (includesHost=false, as on Google
    Cloud) are added to the machine's row of the same type, region and zone. Raises PriceBookError."""
    errors: list[str] = []
    rows: dict[int, Row] = {}
    for number, values in _lines(text):
        try:
            rows[number] = Row.model_validate(values)
        except ValidationError as error:
            errors += [f"line {number}, {_said(one)}" for one in error.errors()]
    machines = _machines(rows, errors)
    if errors:
        raise PriceBookError("the price book cannot be read:\n" + "\n".join(errors))
    return machines


def _lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and what is set, by column."""
    kept = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if len(kept) < 2:
        raise PriceBookError(
            "the price book is empty: its first line names the columns, each further one prices a machine"
        )
    reader = csv.DictReader(line for _, line in kept)
    for (number, _), values in zip(kept[1:], reader, strict=True):
        if None in values:
            raise PriceBookError(f"line {number}: more values than columns: put a value that has a comma in quotes")
        yield number, {column: value.strip() for column, value in values.items() if value and value.strip()}


def _said(error: Any) -> str:
    """One of pydantic's errors, in words."""
    where = ".".join(str(part) for part in error["loc"])
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        what = f"unknown column; there are: {', '.join(str(field.alias) for field in Row.model_fields.values())}"
    return f"{where}: {what}" if where else what


def _machines(rows: dict[int, Row], errors: list[str]) -> list[Machine]:
    hosts = {row.place: row for row in rows.values() if not row.accelerator}
    found: dict[tuple[str, ...], tuple[int, Machine]] = {}
    for number, row in rows.items():
        rates = row.rates()
        if not row.includes_host:
            host = hosts.get(row.place)
            if host is None:
                errors.append(
                    f"line {number}: includesHost=false, and no row has {row.instance_type} without accelerators"
                )
                continue
            rates = {kind: rate + host.rates()[kind] for kind, rate in rates.items() if kind in host.rates()}
        elif row.accelerator == "" and any(
            not other.includes_host and other.place == row.place for other in rows.values()
        ):
            continue  # a part of those
        key = (*row.place, row.accelerator)
        if key in found:
            errors.append(f"line {number}: the same machine and place as line {found[key][0]}: remove one")
            continue
        found[key] = (
            number,
            Machine(
                instance_type=row.instance_type,
                region=row.region,
                zone=row.zone,
                accelerator=row.accelerator,
                accelerators=row.accelerators,
                rates=rates,
                billing_increment_seconds=row.billing_increment_seconds,
                as_of=row.as_of,
                source=row.source,
                vcpus=row.vcpus,
            ),
        )
    return [machine for _, machine in found.values()]

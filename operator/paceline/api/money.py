"""``status.cost`` and ``status.goodput``. Money and figures are decimal strings, so that nothing drifts."""

from __future__ import annotations

from pydantic import Field

from paceline.api.base import ApiModel, Time


def _figure(description: str) -> str | None:
    found: str | None = Field(default=None, max_length=32, description=description)
    return found


class LedgerStay(ApiModel):
    """Pods that were bound and ended together, at one price."""

    pods: str = Field(max_length=8192, description="ATTEMPT-INDICES-REPLACEMENT, indices as 0..3,5; or rdzv.")
    start: Time = Field(description="When they were bound to their nodes.")
    end: Time | None = Field(default=None, description="When they ended; absent: they have not.")
    usd_per_hour: str | None = _figure("Of each; absent: unknown.")
    on_demand_usd_per_hour: str | None = Field(
        default=None, max_length=32, description="Of each, where it is a spot machine."
    )
    gpus: int = Field(default=0, description="Devices of each.")
    cpus: str = Field(default="0", max_length=32, description="Cores that each reserves.")
    source: str = Field(default="", max_length=512, description="Where the price is from.")
    as_of: str = Field(default="", max_length=32, description="Date of the price.")


class LedgerClosed(ApiModel):
    """Sums of pods that are gone."""

    usd: str = Field(default="0", max_length=32, description="Dollars.")
    spot_savings_usd: str = Field(default="0", max_length=32, description="Of spot machines, against on demand.")
    uncertain_usd: str = Field(default="0", max_length=32, description="Of usd, at most this much too much.")
    gpu_seconds: str = Field(default="0", max_length=32, description="Devices times seconds.")
    cpu_seconds: str = Field(default="0", max_length=32, description="Cores times seconds.")
    unpriced_seconds: str = Field(default="0", max_length=32, description="Pods times seconds without a price.")


class LedgerStatus(ApiModel):
    """What the operator goes on from after a restart; the fields above are made of it."""

    closed: LedgerClosed = Field(default=LedgerClosed(), description="Sums of pods that are gone.")
    stays: list[LedgerStay] = Field(default=[], max_length=4096, description="Pods that are known, by price and time.")


class Lost(ApiModel):
    """Dollars that trained nothing that was kept."""

    wasted_progress: str = Field(default="0", max_length=32, description="Steps that a failure took back.")
    recovery: str = Field(default="0", max_length=32, description="From a failure to the first step after it.")
    startup: str = Field(default="0", max_length=32, description="Pulling images, starting, meeting.")


class CostStatus(ApiModel):
    """What the job costs, from the timestamps of its pods and the prices of their nodes."""

    accrued_usd: str | None = Field(
        default=None, alias="accruedUSD", max_length=32, description="Spent until asOf; absent while no price is known."
    )
    hourly_rate_usd: str | None = Field(
        default=None, alias="hourlyRateUSD", max_length=32, description="What the pods that are there cost an hour."
    )
    forecast_usd: str | None = Field(
        default=None,
        alias="forecastUSD",
        max_length=32,
        description="At the end: spent, and the time that the program says remains, at the present rate and goodput.",
    )
    lost_usd: Lost | None = Field(default=None, alias="lostUSD", description="Dollars lost, by reason.")
    spot_savings_usd: str | None = Field(
        default=None, alias="spotSavingsUSD", max_length=32, description="Against on demand, less what failures lost."
    )
    uncertain_usd: str | None = Field(
        default=None,
        alias="uncertainUSD",
        max_length=32,
        description="Of accruedUSD, at most this much too much: pods that vanished while no operator ran.",
    )
    gpu_hours: str | None = _figure("Devices times hours, priced or not.")
    cpu_hours: str | None = _figure("Cores times hours, priced or not.")
    price_source: str | None = Field(default=None, max_length=512, description="Where the price is from.")
    price_as_of: str | None = _figure("Date of the price.")
    as_of: Time = Field(description="When all this was computed.")
    ledger: LedgerStatus = Field(default=LedgerStatus(), description="Kept for the operator's next start.")


class GoodputStatus(ApiModel):
    """Where the time and the money went."""

    ratio: str | None = _figure("Training, checkpoints and evaluation, of all time but queued and suspended.")
    part: str = Field(default="queued", max_length=32, description="What the time goes to now.")
    seconds: dict[str, str] = Field(
        default={}, max_length=16, description="By part; they sum to the time from creation to asOf or the job's end."
    )
    usd: dict[str, str] = Field(default={}, max_length=16, description="By part; they sum to accruedUSD.")

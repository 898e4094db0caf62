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
    gpu_model: str = Field(default="", max_length=63, description="Model of the devices, where it is known.")
    capacity_type: str = Field(default="", max_length=16, description="on-demand, spot or owned, where it is known.")


class LedgerClosed(ApiModel):
    """Sums of pods that are gone."""

    usd: str = Field(default="0", max_length=32, description="Dollars.")
    gpu_usd: str = Field(default="0", max_length=32, description="Of usd, of pods that have devices.")
    days: list[Day] = Field(
        default=[], max_length=100, description="usd by day, oldest first; the first holds all before."
    )
    spot_savings_usd: str = Field(default="0", max_length=32, description="Of spot machines, against on demand.")
    uncertain_usd: str = Field(default="0", max_length=32, description="Of usd, at most this much too much.")
    gpu_seconds: str = Field(default="0", max_length=32, description="Devices times seconds.")
    cpu_seconds: str = Field(default="0", max_length=32, description="Cores times seconds.")
    unpriced_seconds: str = Field(default="0", max_length=32, description="Pods times seconds without a price.")


class Day(ApiModel):
    """What was spent on one day (UTC)."""

    date: str = Field(max_length=10, description="YYYY-MM-DD.")
    usd: str = Field(max_length=32, description="Dollars.")


class LedgerStatus(ApiModel):
    """What the operator goes on from after a restart; the fields above are made of it."""

    closed: LedgerClosed = Field(default=LedgerClosed(), description="Sums of pods that are gone.")
    stays: list[LedgerStay] = Field(default=[], max_length=4096, description="Pods that are known, by price and time.")


class Lost(ApiModel):
    """Dollars that trained nothing that was kept."""

    wasted_progress: str = Field(default="0", max_length=32, description="Steps that a failure took back.")
    recovery: str = Field(default="0", max_length=32, description="From a failure to the first step after it.")
    startup: str = Field(default="0", max_length=32, description="Pulling images, starting, meeting.")


class UnitCost(ApiModel):
    """Dollars for what was got; absent is unknown."""

    million_samples_usd: str | None = Field(
        default=None, alias="millionSamplesUSD", max_length=32, description="For each million samples trained on."
    )
    epoch_usd: str | None = Field(default=None, alias="epochUSD", max_length=32, description="For each epoch.")


class Utilization(ApiModel):
    """How much of the reserved devices is used."""

    ratio: str | None = _figure(
        "Share of the devices' time in which they compute (cores', where there are none), 0 to 1."
    )
    mfu_ratio: str | None = _figure(
        "Model FLOPs utilization, 0 to 1; absent where the peak or the model's FLOPs are unknown."
    )
    source: str = Field(
        max_length=256, description="Where ratio is from: a Prometheus series, or the program's own report."
    )
    as_of: Time = Field(description="When it was measured.")
    active_gpu_seconds: str | None = _figure("Devices times seconds times ratio, while it was known.")
    idle_since: Time | None = Field(default=None, description="Since when ratio is below cost.idle.utilizationBelow.")


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
        description="At the end: spent, and the time that the program says remains, at the present rate and pace.",
    )
    forecast_basis: str | None = Field(default=None, max_length=256, description="What forecastUSD is made of.")
    gpu_usd: str | None = Field(
        default=None, alias="gpuUSD", max_length=32, description="Of accruedUSD, of pods that have devices."
    )
    idle_usd: str | None = Field(
        default=None,
        alias="idleUSD",
        max_length=32,
        description="Of accruedUSD, the share that was not used while the utilization was known.",
    )
    days: list[Day] = Field(
        default=[], max_length=100, description="accruedUSD by day (UTC), oldest first; the first holds all before."
    )
    budget_used_ratio: str | None = _figure("accruedUSD over budget.maxUSD.")
    unit: UnitCost | None = Field(default=None, description="What was got for the money.")
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
    gpu_model: str | None = Field(default=None, max_length=63, description="Devices that the price is of.")
    capacity_type: str | None = _figure("How their node is had: on-demand, spot or owned.")
    as_of: Time = Field(description="When all this was computed.")
    ledger: LedgerStatus = Field(default=LedgerStatus(), description="Kept for the operator's next start.")


class ReportedSeconds(ApiModel):
    """How much of what the program spent evaluating and saving is in the goodput: of its newest process."""

    since: Time = Field(description="When the process began.")
    evaluation_seconds: str = Field(default="0", max_length=32, description="Spent evaluating.")
    checkpoint_seconds: str = Field(default="0", max_length=32, description="Waited for checkpoints.")


class GoodputStatus(ApiModel):
    """Where the time and the money went."""

    ratio: str | None = _figure("Training, checkpoints and evaluation, of all time but queued and suspended.")
    part: str = Field(default="queued", max_length=32, description="What the time goes to now.")
    seconds: dict[str, str] = Field(
        default={}, max_length=16, description="By part; they sum to the time from creation to asOf or the job's end."
    )
    usd: dict[str, str] = Field(default={}, max_length=16, description="By part; they sum to accruedUSD.")
    reported: ReportedSeconds | None = Field(
        default=None, description="Kept so that nothing the program reports counts twice."
    )


class BudgetStatus(ApiModel):
    """What the budget has done, or is about to."""

    stopped_at_usd: str | None = Field(
        default=None,
        alias="stoppedAtUSD",
        max_length=32,
        description="budget.maxUSD that suspended the job; a larger one resumes it.",
    )
    reason: str | None = Field(default=None, max_length=64, description="BudgetSpent or ForecastExceeds.")
    forecast_above_since: Time | None = Field(default=None, description="Since when the forecast is above the budget.")


class StopStatus(ApiModel):
    """The metric of stopWhen, and from where the next point's price is counted."""

    last: str | None = Field(default=None, max_length=64, description="Newest value.")
    best: str | None = Field(default=None, max_length=64, description="Best value so far.")
    mark: str | None = Field(default=None, max_length=64, description="Best value at the last whole point.")
    mark_usd: str | None = Field(
        default=None, alias="markUSD", max_length=32, description="Dollars spent when it was reached."
    )
    usd_per_point: str | None = Field(
        default=None,
        alias="usdPerPoint",
        max_length=32,
        description="Dollars since then for each point gained, at least one; absent while no price is known.",
    )
    message: str | None = Field(default=None, max_length=512, description="Why nothing is known of the metric.")

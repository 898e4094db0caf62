"""Conditions: the truth that the phase is derived from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from paceline.api.status import Condition

COMPLETE = "Complete"
FAILED = "Failed"
SUSPENDED = "Suspended"
RUNNING = "Running"
RECOVERING = "Recovering"
STALLED = "Stalled"
DEGRADED = "Degraded"
PRICE_UNKNOWN = "PriceUnknown"
BUDGET_AT_RISK = "BudgetAtRisk"
BUDGET_EXCEEDED = "BudgetExceeded"
IDLE = "Idle"
READY = "Ready"
SOURCE_READY = "SourceReady"


class Reason:
    """Reasons of conditions, which programs may rely on."""

    WAITING_FOR_PODS = "WaitingForPods"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_ERROR = "ImageError"
    CONFIG_ERROR = "ConfigError"
    INVALID_RECIPE = "InvalidRecipe"
    INVALID_TEMPLATE = "InvalidTemplate"
    GANG_RUNNING = "GangRunning"
    BACKOFF = "Backoff"
    RESIZED = "Resized"
    POD_REPLACED = "PodReplaced"
    FEWER_NODES = "FewerNodes"
    AS_ASKED = "AsAsked"
    NO_PROGRESS = "NoProgress"
    PROGRESS = "Progress"
    NO_PRICE = "NoPrice"
    PRICED = "Priced"
    WARN_RATIO_REACHED = "WarnRatioReached"
    FORECAST_EXCEEDS = "ForecastExceeds"
    BUDGET_SPENT = "BudgetSpent"
    WITHIN_BUDGET = "WithinBudget"
    METRIC_REACHED = "MetricReached"
    POINT_TOO_DEAR = "PointTooDear"
    LOW_UTILIZATION = "LowUtilization"
    IN_USE = "InUse"
    QUEUED = "Queued"
    SUSPEND_REQUESTED = "SuspendRequested"
    RESUMED = "Resumed"
    SUCCEEDED = "AllWorkersSucceeded"
    MAX_RESTARTS_EXCEEDED = "MaxRestartsExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    STARTUP_TIMEOUT = "StartupTimeout"
    SOURCE_FOUND = "SourceFound"
    STAGE_RUNNING = "StageRunning"
    STAGE_FAILED = "StageFailed"
    INVALID_STAGE = "InvalidStage"
    REFUSED = "Refused"


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((c for c in conditions if c.type == type_), None)


def holds(conditions: Iterable[Condition], type_: str) -> bool:
    found = find(conditions, type_)
    return found is not None and found.status == "True"


def put(
    conditions: list[Condition], type_: str, status: bool, reason: str, message: str, *, now: datetime, generation: int
) -> list[Condition]:
    """A new list with this condition in it; its transition time moves only when its status does."""
    old = find(conditions, type_)
    wanted = "True" if status else "False"
    new = Condition(
        type=type_,
        status="True" if status else "False",
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and old.status == wanted else now,
        reason=reason,
        message=message,
    )
    return [new if c.type == type_ else c for c in conditions] if old else [*conditions, new]

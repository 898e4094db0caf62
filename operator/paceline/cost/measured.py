"""What the project's own runs say of further ones: throughput, how it grows with machines, and what preemptions take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Generic, Literal, TypeVar

from paceline.api import conditions as c
from paceline.api.spec import TrainingJobSpec
from paceline.api.status import Cause, Phase, TrainingJobStatus
from paceline.api.trainingjob import TrainingJob
from paceline.cost.advise import Scaling

DEVICES = ("nvidia.com/gpu", "amd.com/gpu")
# What takes a spot machine away.
TAKEN = (Cause.PREEMPTED, Cause.NODE_LOST, Cause.NODE_DRAINED)
# The status keeps the last ten failures: of a job with as many nobody knows how many there were.
KEPT_FAILURES = 10
Basis = Literal["measured", "given", "assumed", "unknown"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure(Generic[T]):
    """With where it is from; ``jobs``: that it was measured in."""

    value: T
    basis: Basis
    jobs: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return f"{self.basis} ({', '.join(self.jobs)})" if self.jobs else self.basis


@dataclass(frozen=True, slots=True)
class Run:
    """A job that has trained. ``machines`` of so many ``devices`` each made ``samples_per_second`` together."""

    name: str
    machines: int
    devices: int
    samples_per_second: float | None
    # What the devices are called, by the price book or their node; empty where neither tells.
    device: str
    spot: bool
    machine_hours: float
    # Machines that were taken away, and failures of any kind; None where there were more than the status keeps.
    taken: int | None
    failures: int | None
    # That failures took: steps again, and recovery.
    hours_lost: float


def devices(spec: TrainingJobSpec) -> int:
    """Of a worker. Raises ValueError where a limit is no whole number."""
    limits = {name: spec.resources.limits[name] for name in DEVICES if name in spec.resources.limits}
    for name, limit in limits.items():
        if not str(limit).isdecimal():
            raise ValueError(f"spec.resources.limits.{name} must be a whole number, not {limit!r}")
    return sum(int(limit) for limit in limits.values())


def same_program(a: TrainingJobSpec, b: TrainingJobSpec) -> bool:
    """The same recipe with the same parameters (another model is as fast as it is), or the same command in the same image."""
    return (a.recipe, a.image, a.command) == (b.recipe, b.image, b.command)


def run(job: TrainingJob, now: datetime) -> Run | None:
    """None where its workers never ran."""
    spec, status = job.spec, job.status
    if status.start_time is None:
        return None
    machines, active = _machines(job), status.active_seconds
    if status.active_since is not None:
        active += max(0, int((now - status.active_since).total_seconds()))
    past = status.failures or []
    few = len(past) < KEPT_FAILURES
    lost = status.goodput.seconds if status.goodput else {}
    how = (status.cost and status.cost.capacity_type) or ""
    each_has, held = devices(spec), Decimal((status.cost.gpu_hours if status.cost else None) or 0)
    return Run(
        name=f"tj/{job.metadata.name}",
        machines=machines,
        devices=each_has,
        samples_per_second=_speed(status),
        device=(status.cost and status.cost.gpu_model) or "",
        spot=how == "spot" if how else spec.cost.capacity_type == "spot",
        machine_hours=float(held / each_has) if each_has and held else active * machines / 3600,
        taken=sum(each.cause in TAKEN for each in past) if few else None,
        failures=len(past) if few else None,
        hours_lost=float(sum(Decimal(lost.get(part, "0")) for part in ("lost", "recovering")) / 3600),
    )


def throughput(runs: Iterable[Run], devices: int) -> Figure[float] | None:
    """Samples a second of one device, where there are the fewest machines: what more of them lose is their scaling's."""
    sizes = _by_size(runs, devices)
    if not sizes or not devices:
        return None
    machines = min(sizes)
    speed = _mean(each.samples_per_second for each in sizes[machines]) / machines / devices
    return Figure(speed, "measured", _names(sizes[machines]))


def scaling(runs: Iterable[Run], devices: int) -> Figure[Scaling] | None:
    """Of so many devices a machine, beside the fewest machines that were measured; None where there is one size only."""
    sizes = _by_size(runs, devices)
    if len(sizes) < 2:
        return None
    fewest = min(sizes)
    alone = _mean(each.samples_per_second for each in sizes[fewest]) / fewest
    shares = {n: _mean(each.samples_per_second for each in sizes[n]) / n / alone for n in sorted(sizes)}
    return Figure(Scaling(tuple(shares.items())), "measured", _names(each for n in sorted(sizes) for each in sizes[n]))


def preemptions_per_hour(runs: Iterable[Run]) -> Figure[float] | None:
    """Of a spot machine; None where no run was on spot, or more happened than was kept."""
    spot = [each for each in runs if each.spot and each.taken is not None and each.machine_hours]
    if not spot:
        return None
    taken = sum(each.taken or 0 for each in spot)
    return Figure(taken / sum(each.machine_hours for each in spot), "measured", _names(spot))


def hours_lost(runs: Iterable[Run]) -> Figure[float] | None:
    """That a failure took; None where there was none, or more than was kept."""
    failed = [each for each in runs if each.failures]
    if not failed:
        return None
    lost, failures = sum(each.hours_lost for each in failed), sum(each.failures or 0 for each in failed)
    return Figure(lost / failures, "measured", _names(failed))


def _by_size(runs: Iterable[Run], devices: int) -> dict[int, list[Run]]:
    found: defaultdict[int, list[Run]] = defaultdict(list)
    for each in runs:
        if each.samples_per_second and each.devices == devices:
            found[each.machines].append(each)
    return found


def _machines(job: TrainingJob) -> int:
    """That train, or did until the job's end: an elastic gang may have fewer than it is to have."""
    nodes = job.status.nodes
    if nodes is None:
        return job.spec.nodes
    return nodes.running if job.status.phase == Phase.RUNNING else nodes.desired


def _speed(status: TrainingJobStatus) -> float | None:
    """None also where it is not known to be that of the present size: it may have changed since, by itself or by its user."""
    progress, since = status.progress, status.nodes.resize_time if status.nodes else None
    if progress is None or progress.samples_per_second is None or progress.last_update_time is None:
        return None
    if status.phase == Phase.RUNNING and (running := c.find(status.conditions, c.RUNNING)):
        since = max(filter(None, (since, running.last_transition_time)))
    elif status.phase not in (Phase.SUCCEEDED, Phase.FAILED, Phase.SUSPENDED):
        return None
    if since is not None and progress.last_update_time <= since:
        return None
    try:
        speed = Decimal(progress.samples_per_second)
    except InvalidOperation:  # it is the program's own word
        return None
    return float(speed) if speed.is_finite() and speed > 0 else None


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _names(runs: Iterable[Run]) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in runs))

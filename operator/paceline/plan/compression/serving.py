"""Economics of the exported model, from what its serving check reached and what serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from paceline.api.compression_status import ServingReport
from paceline.api.compressionjob import CompressionJob
from paceline.api.trainingjob import TrainingJob
from paceline.cost.prices import Machine
from paceline.cost.serving import economics
from paceline.plan.bill import PURCHASE
from paceline.plan.compression.seen import figures
from paceline.plan.compression.walk import significant

USD = Decimal("0.000001")


def report(
    job: CompressionJob, export: TrainingJob, books: Mapping[str, Sequence[Machine]], spent: Decimal | None
) -> ServingReport:
    """``export``: the TrainingJob that served both models. What is not known is absent, and an assumption says why."""
    found, asked = figures(export), job.spec.serving
    before, after = found.get("baselineServedThroughput"), found.get("servedThroughput")
    rates = {
        "requests_per_second_before": None if before is None else significant(before),
        "requests_per_second_after": None if after is None else significant(after),
    }
    price, servers, words = _hardware(job, export, books)
    assumptions = [words, f"servers have requests for {asked.utilization} of their time"]
    if price is None or not before or not after or not Decimal(asked.utilization):
        return ServingReport(assumptions=assumptions, **rates)
    threads, batch = job.spec.measure.threads, job.spec.measure.batch
    assumptions.append(
        f"a request is {batch} sample{'s' if batch > 1 else ''}; one server process of {threads} thread"
        f"{'s' if threads > 1 else ''} answers as many as in the check of {asked.check_seconds} s, over HTTP"
    )
    if spent is None:
        assumptions.append("what compressing has cost is unknown: no price was known")
    got = economics(
        usd_per_hour=price,
        before_per_second=before * servers,
        after_per_second=after * servers,
        utilization=Decimal(asked.utilization),
        spent=spent or Decimal(0),
        requests_per_month=asked.requests_per_month,
    )
    known = spent is not None
    return ServingReport(
        usd_per_million_before=f"{got.before.quantize(USD):f}",
        usd_per_million_after=f"{got.after.quantize(USD):f}",
        break_even_requests=f"{got.break_even_requests:.0f}" if known and got.break_even_requests is not None else None,
        break_even_days=f"{got.break_even_days:.1f}" if known and got.break_even_days is not None else None,
        usd_saved_per_month=None if got.saved_per_month is None else f"{got.saved_per_month:.2f}",
        usd_per_hour=f"{price:f}",
        assumptions=assumptions,
        **rates,
    )


def _hardware(
    job: CompressionJob, export: TrainingJob, books: Mapping[str, Sequence[Machine]]
) -> tuple[Decimal | None, int, str]:
    """USD an hour, server processes on it, and the words for both."""
    asked, cost = job.spec.serving.hardware, job.spec.cost
    if asked == "cpu":
        known = job.status.report.serving if job.status.report else None
        price = _share(export) or (Decimal(known.usd_per_hour) if known and known.usd_per_hour else None)
        if price is None:
            return None, 1, "what serves has no price: the node of the serving check has none"
        return (
            price,
            1,
            f"what serves costs {price:f} USD an hour: the share of its node that the serving check's pod had",
        )
    machine = next((m for m in books.get(cost.price_book, ()) if asked in (m.instance_type, m.name)), None)
    if machine is None:
        return None, 1, f"what serves has no price: price book {cost.price_book!r} has no row for {asked}"
    how = PURCHASE[cost.capacity_type] if cost.capacity_type else "on-demand"
    rate = machine.rates.get(how) or next(iter(machine.rates.values()))
    servers = max(1, int((machine.vcpus or Decimal(1)) / job.spec.measure.threads))
    words = (
        f"{machine.name} costs {rate:f} USD an hour ({cost.price_book}, {machine.as_of}) and runs {servers} server processes at "
        "once, each as fast as in the serving check on this cluster"
    )
    return rate, servers, words


def _share(export: TrainingJob) -> Decimal | None:
    """USD an hour of the pod that served."""
    cost = export.status.cost
    stays = cost.ledger.stays if cost and cost.ledger else []
    return next((Decimal(stay.usd_per_hour) for stay in stays if stay.pods != "rdzv" and stay.usd_per_hour), None)

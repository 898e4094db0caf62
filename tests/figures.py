"""A job whose status says all that a status can say, and how the metrics of jobs are read off a page."""

from __future__ import annotations

import re
from typing import Any

from paceline.api.trainingjob import TrainingJob

Json = dict[str, Any]
# 2027-01-15T08:00:00Z, which is also when the full status was written.
NOW = 1_800_000_000.0
WRITTEN = "2027-01-15T08:00:00Z"


def full_status(**more: Any) -> Json:
    stays = [
        {"pods": "1-0..1-0", "start": WRITTEN, "usdPerHour": "18", "gpus": 8, "cpus": "8", "source": "own: p5 us, spot, list"},
        {"pods": "1-2-0", "start": WRITTEN, "end": WRITTEN, "usdPerHour": "18", "gpus": 8, "cpus": "8"},
        {"pods": "rdzv", "start": WRITTEN, "usdPerHour": "0.36", "gpus": 0, "cpus": "0.05"},
    ]  # fmt: skip
    cost = {
        "accruedUSD": "10.0000", "gpuUSD": "9.0000", "hourlyRateUSD": "36.3600", "forecastUSD": "100.0000", "idleUSD": "3.0000",
        "lostUSD": {"wastedProgress": "1", "recovery": "2", "startup": "0.5"}, "spotSavingsUSD": "7.0000", "gpuHours": "4.0000",
        "cpuHours": "4.0000", "budgetUsedRatio": "0.0400", "priceSource": "own: p5 us, spot, list", "gpuModel": "H100",
        "capacityType": "spot", "asOf": WRITTEN, "ledger": {"stays": stays},
    }  # fmt: skip
    return {
        "phase": "Running",
        "startTime": WRITTEN,
        "nodes": {"desired": 2, "running": 2, "summary": "2/2"},
        "restarts": {"inPlace": 1, "pod": 2, "job": 3, "infrastructure": 4},
        "progress": {
            "percent": "25.0", "step": 250, "totalSteps": 1000, "etaSeconds": 900, "samples": 32000, "tokens": 64000000,
            "lastUpdateTime": WRITTEN,
        },
        "checkpoint": {"lastStep": 200, "time": WRITTEN, "saveSeconds": "2.5", "restoreSeconds": "1.5"},
        "cost": cost,
        "goodput": {"ratio": "0.900", "part": "recovering", "seconds": {"training": "90", "recovering": "10", "queued": "5"}},
        "utilization": {
            "ratio": "0.700", "mfuRatio": "0.400", "source": "DCGM", "asOf": WRITTEN, "activeGpuSeconds": "10080",
        },
    } | more  # fmt: skip


def full_job(**more: Any) -> TrainingJob:
    meta = {
        "name": "job", "namespace": "default", "uid": "job-uid", "resourceVersion": "1", "generation": 1,
        "creationTimestamp": "2027-01-15T07:58:15Z",
    }  # fmt: skip
    cost = {"team": "vision", "budget": {"maxUSD": "250"}}
    spec = {"image": "torch:1", "command": ["torchrun", "x.py"], "nodes": 2, "cost": cost}
    return TrainingJob.parse({"metadata": meta, "spec": spec, "status": full_status(**more)})


def read(page: str) -> dict[str, dict[str, float]]:
    """{name: {its own labels, as written: value}} of the jobs on a metrics page; labels that every job has are left out."""
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in re.findall(r"^(paceline_job_\w+)\{(.*)\} (\S+)$", page, re.M):
        own = [pair for pair in labels.split(",") if not pair.startswith(('namespace="', 'job="', 'kind="'))]
        found.setdefault(name, {})[",".join(sorted(own))] = float(value)
    return found

"""What a process may compute with: cores, a GPU's peak, and the memory that it holds."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")

# Dense BF16 FLOPs a second, by the makers' data sheets, without sparsity. The first that matches the device's name holds; what is
# not named so (an H100 NVL, a slice of one by MIG, GH200) has another peak and is unknown.
_PEAKS: tuple[tuple[str, float | None], ...] = (
    (r"\bMIG\b|\bNVL\b", None),
    (r"\bA100\b", 312e12),
    (r"\bH100 PCIe\b", 756e12),
    (r"\bH100\b.*\b(SXM5?|HBM3)\b|\bH100 SXM5?\b", 989e12),
    (r"\bH200\b", 989e12),
    (r"\bB200\b", 2.25e15),
    (r"\bL40S\b", 362e12),
    (r"\bMI300X\b", 1300e12),
)


def peak_flops(name: str) -> float | None:
    """Of a device as torch.cuda.get_device_name says it; None where it is not in the table."""
    return next((peak for pattern, peak in _PEAKS if re.search(pattern, name)), None)


@cache
def peak_of(device: torch.device) -> float | None:
    return peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


@cache
def cores() -> float:
    """That this container's processes may use together: by affinity, and by the quota of its cgroup where there is one."""
    return allowed(len(os.sched_getaffinity(0)), _read("cpu.max") or _quota_of_version_1())


def allowed(by_affinity: int, quota: str) -> float:
    """``quota`` as cgroup's cpu.max has it: microseconds or ``max``, and those of the period that they are of."""
    most, _, period = quota.partition(" ")
    if not (most.isdecimal() and period.isdecimal() and int(period)):
        return float(by_affinity)
    return min(float(by_affinity), int(most) / int(period))


def _quota_of_version_1() -> str:
    """-1 where there is none."""
    return f"{_read('cpu/cpu.cfs_quota_us')} {_read('cpu/cpu.cfs_period_us')}"


def _read(name: str) -> str:
    try:
        return (CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def memory_bytes(device: torch.device) -> int:
    """That torch has allocated on a GPU; else what the process holds in memory (resident set)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

"""What can be seen without asking the operator: what the API server was asked, what processes use."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.kube.client import Client

TICKS = os.sysconf("SC_CLK_TCK")
# As the API server counts them: a server-side apply is a PATCH to the client, and APPLY here.
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION")
_REQUESTS = re.compile(
    r'^apiserver_request_total\{.*?resource="(\w+)".*?subresource="([\w/]*)".*?verb="(\w+)".*\} (\S+)$'
)


async def asked(client: Client) -> dict[str, int]:
    """What the API server was asked so far, by "VERB resource" or "VERB resource/subresource", by everybody."""
    found: dict[str, int] = {}
    async for line in client.lines("/metrics"):
        if match := _REQUESTS.match(line.decode()):
            key = f"{match[3]} {match[1]}/{match[2]}".rstrip("/")
            found[key] = found.get(key, 0) + int(float(match[4]))
    return found


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None, status
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def descriptors(pid: int) -> int:
    """Open files and sockets."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def page(url: str) -> str:
    """What is served there; empty while nothing is, or an error."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
    except OSError:
        return ""
    return text


async def until(what: str, true: Callable[[], Any], seconds: float, pause: float = 0.01) -> None:
    """Raises TimeoutError that says what did not come."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(pause)


def written(counts: dict[str, int]) -> dict[str, int]:
    """The writes of what ``asked`` has found; leases, which are renewed however little there is to do, are not among them."""
    return {key: count for key, count in counts.items() if key.split()[0] in WRITES and "leases" not in key}


def more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Of counters, what was added."""
    return {key: count - before.get(key, 0) for key, count in after.items()}


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]

"""A watch of a namespace's pods beside the operator's own, and what they cost by their own timestamps."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from tests.kube import Json, condition

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class Witness:
    """Watches the pods of a namespace as anybody may, and knows the last state of each."""

    def __init__(self, namespace: str, file: Path) -> None:
        self._file = file.open("wb")
        command = ["kubectl", "get", "pods", "-n", namespace, "-w", "--output-watch-events", "-o", "json"]
        self._watch = subprocess.Popen(command, stdout=self._file)

    def stop(self) -> list[Json]:
        if self._watch.poll() is None:
            self._watch.terminate()
            self._watch.wait()
            self._file.close()
        text, at, found = Path(self._file.name).read_text(encoding="utf-8"), 0, {}
        while at < len(text):
            event, at = json.JSONDecoder().raw_decode(text, at)
            at += len(text[at:]) - len(text[at:].lstrip())
            found[event["object"]["metadata"]["uid"]] = event["object"]
        return list(found.values())


def seconds(pod: Json) -> int | None:
    """From being bound to the end of the last container, by the pod's own timestamps; None where it has no end."""
    ended = ends_at(pod)
    return None if ended is None else ended - binds_at(pod)


def binds_at(pod: Json) -> int:
    return unix(condition(pod["status"], "PodScheduled")["lastTransitionTime"])


def ends_at(pod: Json) -> int | None:
    states = [status["state"].get("terminated") for status in pod["status"].get("containerStatuses", [])]
    return max(unix(state["finishedAt"]) for state in states) if states and all(states) else None


def unix(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def share(pod: Json, node: Json) -> Decimal:
    """Of its node: the larger of its shares of cores and memory."""
    has, asks = node["status"]["allocatable"], [c["resources"].get("requests", {}) for c in pod["spec"]["containers"]]
    return max(sum(amount(a.get(name, "0")) for a in asks) / amount(has[name]) for name in ("cpu", "memory"))


def amount(quantity: str) -> Decimal:
    if quantity[-2:] in UNITS:
        return Decimal(quantity[:-2]) * UNITS[quantity[-2:]]
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)

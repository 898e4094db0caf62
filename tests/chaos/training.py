"""A training run under observation: when it steps, seen by the times of its checkpoints, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kube import apply, get, pods, status, wait

CLAIM = "ckpt"
# Small steps between checkpoints: their times show when training steps again, to a fraction of a second.
EVERY_STEPS = 20
EPOCHS = 12


def claim(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }


class Training:
    """One TrainingJob on two nodes, with the same seed each time."""

    def __init__(self, name: str, namespace: str, epochs: int = EPOCHS, **spec: Any) -> None:
        self.name, self.namespace = name, namespace
        base = {
            "recipe": {"name": "image-classification", "params": {"epochs": epochs}},
            "nodes": 2,
            "processesPerNode": 1,
            "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}},
            "nodeLoss": {"detectSeconds": 15},
            "checkpoint": {
                "volume": {"persistentVolumeClaim": {"claimName": CLAIM}},
                "everySteps": EVERY_STEPS,
                "gracePeriodSeconds": 30,
            },
        }
        meta = {"name": name, "namespace": namespace}
        wanted = {key: value for key, value in (base | spec).items() if value is not None}
        self._job = {"apiVersion": "paceline.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": wanted}

    def apply(self) -> None:
        apply(self._job)

    def start(self, steps: int = 100) -> None:
        """Applied, and trained so far."""
        self.apply()
        wait(f"it has trained {steps} steps", lambda: self.step() >= steps, 180)

    def status(self) -> dict[str, Any]:
        return status(self.name, self.namespace)

    def folder(self) -> Path:
        """Where its checkpoints lie on this machine."""
        volume = get("pvc", CLAIM, self.namespace)["spec"]["volumeName"]
        uid = get("tj", self.name, self.namespace)["metadata"]["uid"]
        return Path(get("pv", volume)["spec"]["hostPath"]["path"]) / f"{self.name}-{uid[:8]}"

    def checkpoints(self) -> list[Path]:
        """Complete ones, oldest first."""
        return sorted(p.parent for p in self.folder().glob("step-*/manifest.json"))

    def step(self) -> int:
        """Of the newest checkpoint."""
        found = self.checkpoints() if get("pvc", CLAIM, self.namespace)["spec"].get("volumeName") else []
        return int(found[-1].name.removeprefix("step-")) if found else 0

    def worker(self, index: int) -> dict[str, Any]:
        """The newest pod of an index."""
        mine = [
            p for p in pods(self.name, self.namespace) if p["metadata"]["labels"]["paceline.dev/index"] == str(index)
        ]
        return max(mine, key=lambda p: p["metadata"]["creationTimestamp"])

    def pod(self, index: int) -> str:
        name: str = self.worker(index)["metadata"]["name"]
        return name

    def node(self, index: int) -> str:
        name: str = self.worker(index)["spec"]["nodeName"]
        return name

    def store_node(self) -> str:
        name: str = get("pod", f"{self.name}-rdzv", self.namespace)["spec"]["nodeName"]
        return name

    def seconds_until_it_steps(self, disturb: Callable[[], object], limit: float = 240) -> float:
        """From the beginning of the disturbance to the first checkpoint after it: what takes time to do counts too."""
        folder = self.folder()
        began = time.time()
        disturb()
        done = time.time()

        def first() -> float:
            times = [p.stat().st_mtime for p in folder.glob("step-*/manifest.json") if p.exists()]
            # A save that was under way may still be published; nothing that has to start anew is that fast.
            return min((t for t in times if t > done + 2), default=0.0)

        return float(wait("it steps again", first, limit)) - began

    def end(self, limit: float = 400) -> dict[str, Any]:
        """Its status when it has ended well."""

        def ended() -> dict[str, Any] | None:
            found = self.status()
            assert found.get("phase") != "Failed", found
            return found if found.get("phase") == "Succeeded" else None

        found: dict[str, Any] = wait(f"{self.name} succeeds", ended, limit)
        return found

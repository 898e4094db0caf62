"""What the comparison asks of every system, and the worker that every one of them gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tests.kube import KWOK_TOLERATION

Json = dict[str, Any]
IMAGE, COMMAND = "torch:1", ["torchrun", "x.py"]
REQUESTS = {"requests": {"cpu": "100m"}}
# Requests a second and at once where a system's limits are raised: more than the API server answers on such a machine.
QPS, BURST = 2000, 4000
# What the controllers of Jobs and of the peers then work on at once, where a flag says that.
AT_ONCE = 16


class System(ABC):
    """Something that makes pods of jobs. One object is one way to run it, started and stopped once a run."""

    # The label that names a worker's job, and what selects workers, where not all pods with that label are such.
    job_label: str
    selector: str = ""
    # Does anything put a pod in a lost one's place?
    replaces = True
    # How it differs from what its users have by default, in words; empty: by nothing.
    raised = ""

    def install(self) -> None:
        """Its kinds, webhooks and what else the cluster must have of it. May be repeated."""

    async def start(self) -> None:
        """Raises TimeoutError, or RuntimeError with its last words, where it does not come up."""

    def stop(self) -> None:
        """Nothing of it runs any more. May be repeated."""

    def pids(self) -> list[int]:
        """Its own processes while it runs; none where it is part of the control plane."""
        return []

    @abstractmethod
    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        """What its user creates for a job: the path and the body of each object."""


def container(name: str) -> Json:
    """The worker of every system; some name its container themselves."""
    return {"name": name, "image": IMAGE, "command": COMMAND, "resources": REQUESTS}


def pod_spec(name: str) -> Json:
    """On kwok's nodes, where it runs for ever."""
    return {"containers": [container(name)], "tolerations": [KWOK_TOLERATION]}

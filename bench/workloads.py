"""What is put on the cluster, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests import kube

# A namespace with more is slow for reasons of its own: its endpoints, and lists of it.
PODS_A_NAMESPACE = 3000


@dataclass(frozen=True, slots=True)
class Workload:
    """``jobs``, each of ``pods`` workers and one rendezvous store.

    ``seconds``: until they succeed, None is never; ``patience``: seconds until all run, at most; ``stays``: they are left on the
    cluster, which would take an hour to collect what was theirs.
    """

    jobs: int
    pods: int
    seconds: int | None = None
    patience: int = 900
    stays: bool = False

    @property
    def workers(self) -> int:
        return self.jobs * self.pods

    @property
    def namespaces(self) -> int:
        return -(-self.jobs * (self.pods + 1) // PODS_A_NAMESPACE)

    def objects(self, prefix: str) -> list[dict[str, Any]]:
        """The jobs, spread over namespaces ``prefix``-0, -1, …"""
        return [self._job(f"job-{n}", f"{prefix}-{n % self.namespaces}") for n in range(self.jobs)]

    def _job(self, name: str, namespace: str) -> dict[str, Any]:
        ends = {} if self.seconds is None else {"kwok.paceline.dev/complete-after": f"{self.seconds}s"}
        return kube.job(name, namespace, ends, nodes=self.pods, resources={"requests": {"cpu": "100m"}})


WORKLOADS = {
    "two-hundred": Workload(jobs=200, pods=8),
    "thousand": Workload(jobs=1000, pods=8),
    "five-thousand": Workload(jobs=5000, pods=2, patience=3600, stays=True),
    # Several times, with the API server slow, refusing, restarting, not to be reached.
    "trouble": Workload(jobs=60, pods=8),
}

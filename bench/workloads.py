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

    ``seconds``: until they succeed, None is never; ``arriving``: jobs a second, None is all at once; ``failing``: the share of
    jobs whose workers fail a second after they start, until their restarts are used up; ``elastic``: the share that may shrink
    to half their size.
    """

    jobs: int
    pods: int
    seconds: int | None = None
    arriving: float | None = None
    failing: float = 0.0
    elastic: float = 0.0

    @property
    def workers(self) -> int:
        return self.jobs * self.pods

    @property
    def namespaces(self) -> int:
        return -(-self.jobs * (self.pods + 1) // PODS_A_NAMESPACE)

    def objects(self, prefix: str) -> list[dict[str, Any]]:
        """The jobs, spread over namespaces ``prefix``-0, -1, …"""
        return [self._job(n, f"{prefix}-{n % self.namespaces}") for n in range(self.jobs)]

    def _job(self, n: int, namespace: str) -> dict[str, Any]:
        fails, elastic = self._among(n, self.failing), self._among(n, self.elastic)
        ends = {} if self.seconds is None else {"kwok.paceline.dev/complete-after": f"{self.seconds}s"}
        spec: dict[str, Any] = {"nodes": self.pods, "resources": {"requests": {"cpu": "100m"}}}
        if fails:
            ends = {"kwok.paceline.dev/fail-after": "1s"}
            spec["restarts"] = {"max": 1, "backoffSeconds": 1}
        if elastic:
            spec["elastic"] = {"minNodes": max(1, self.pods // 2), "maxNodes": self.pods}
        return kube.job(f"job-{n}", namespace, ends, **spec)

    @staticmethod
    def _among(n: int, share: float) -> bool:
        """Is this job of the share? They are spread evenly, and the same ones in every run."""
        return int((n + 1) * share) > int(n * share)


WORKLOADS = {
    "two-hundred": Workload(jobs=200, pods=8),
    "thousand": Workload(jobs=1000, pods=8),
    "five-thousand": Workload(jobs=5000, pods=2),
    "mixed": Workload(jobs=300, pods=4, seconds=20, arriving=5, failing=0.1, elastic=0.2),
}

"""Any order of what users and failures do, on the real API server: in the end all is as it was asked for, and nothing is left."""

from __future__ import annotations

import signal
import uuid

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.cluster.conftest import Operator
from tests.kube import apply, get, job, kubectl, ledger_is_whole, leftovers, patch, pods, status, wait
from tests.reading import RefusedError

RETRIES = {"max": 50, "backoffSeconds": 1}


class Jobs(RuleBasedStateMachine):
    """What was asked for, by job: workers, or none where it is suspended."""

    operator: Operator
    names = Bundle("names")

    @initialize()
    def begin(self) -> None:
        self.namespace = f"model-{uuid.uuid4().hex[:8]}"
        self.wanted: dict[str, int] = {}
        self.suspended: set[str] = set()
        kubectl("create", "namespace", self.namespace)

    @rule(target=names, workers=st.integers(1, 4))
    def create(self, workers: int) -> str:
        name = f"job-{len(self.wanted)}"
        apply(job(name, self.namespace, nodes=workers, restarts=RETRIES))
        self.wanted[name] = workers
        return name

    @rule(name=names, index=st.integers(0, 3))
    def lose_a_worker(self, name: str, index: int) -> None:
        if live := self._live(name):
            self._delete(live[index % len(live)])

    @rule(name=names)
    def lose_the_store(self, name: str) -> None:
        for store in pods(name, self.namespace, "rendezvous"):
            self._delete(store["metadata"]["name"])

    @rule(name=names, index=st.integers(0, 3))
    def fail(self, name: str, index: int) -> None:
        if live := self._live(name):
            pod = live[index % len(live)]
            try:
                kubectl("annotate", "pod", pod, "-n", self.namespace, "--overwrite", "kwok.paceline.dev/fail-after=0s")
            except RefusedError as error:
                if "NotFound" not in str(error):  # gone meanwhile, so that it cannot fail
                    raise

    @rule(name=names)
    def suspend(self, name: str) -> None:
        patch(name, self.namespace, suspend=True)
        self.suspended.add(name)

    @rule(name=names)
    def resume(self, name: str) -> None:
        patch(name, self.namespace, suspend=False)
        self.suspended.discard(name)

    @rule(name=consumes(names))
    def delete(self, name: str) -> None:
        kubectl("delete", "tj", name, "-n", self.namespace, "--wait=false")
        self.wanted[name] = 0

    @precondition(lambda self: self.wanted)
    @rule()
    def kill_the_operator(self) -> None:
        self.operator.signal(signal.SIGKILL)
        self.operator.start()

    @precondition(lambda self: self.wanted)
    @rule()
    def settle(self) -> None:
        for name, workers in self.wanted.items():
            wait(f"{name} is as it was asked for", lambda n=name, w=workers: self._as_asked(n, w), 120)

    def teardown(self) -> None:
        self.settle()
        for name, workers in self.wanted.items():
            if workers:
                assert ledger_is_whole(found := status(name, self.namespace)), found
        kubectl("delete", "tj", "--all", "-n", self.namespace)
        wait("nothing is left", lambda: leftovers(self.namespace) == [], 60)
        kubectl("delete", "namespace", self.namespace, "--wait=false")

    def _as_asked(self, name: str, workers: int) -> bool:
        there = pods(name, self.namespace)
        stores = pods(name, self.namespace, "rendezvous")
        if not workers:
            return not there and not stores
        phase = status(name, self.namespace).get("phase")
        if name in self.suspended:
            return phase in ("Suspended", "Queued") and not there and not stores
        live = [p for p in there if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]]
        indices = sorted(p["metadata"]["labels"]["paceline.dev/index"] for p in live)
        return phase == "Running" and indices == [str(n) for n in range(workers)] and len(stores) == 1

    def _live(self, name: str) -> list[str]:
        return sorted(
            p["metadata"]["name"] for p in pods(name, self.namespace) if p["status"].get("phase") == "Running"
        )

    def _delete(self, pod: str) -> None:
        kubectl("delete", "pod", pod, "-n", self.namespace, "--ignore-not-found", "--wait=false")


def test_any_order_of_events_ends_as_it_was_asked_for(operator: Operator) -> None:
    Jobs.operator = operator
    names = [node["metadata"]["name"] for node in get("nodes")]
    kubectl("annotate", "node", *names, "paceline.dev/price-per-hour=3600", "--overwrite")
    try:
        run_state_machine_as_test(
            Jobs,
            settings=settings(
                stateful_step_count=12, database=None, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        kubectl("annotate", "node", *names, "paceline.dev/price-per-hour-")

"""Small builders: a job, its pods, and a world that plays the API server to the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import settings

from paceline.api.trainingjob import TrainingJob
from paceline.cost.lookup import Amounts, Host
from paceline.plan.actions import CreateRendezvous, CreateWorker, DeleteJob, DeletePod, Plan, ReadEvents, ReadLog
from paceline.plan.observed import Container, NodeRecord, Observed, PodRecord
from paceline.plan.reconcile import plan
from paceline.render import names

# The same examples in every run: a test either passes or does not. New ones are looked for on purpose, with
# `make unit ARGS=--hypothesis-profile=search`; what is found becomes a test of its own.
settings.register_profile("same", derandomize=True, max_examples=400, deadline=None)
settings.register_profile("search", max_examples=10_000, deadline=None)
settings.load_profile("same")

NOW = 1_800_000_000.0
WHOLE = Amounts(8, Decimal(8), Decimal(2**33))
RECIPES = json.loads(files("paceline.api").joinpath("recipes.json").read_text(encoding="utf-8"))


def make_job(status: dict[str, Any] | None = None, generation: int = 1, **spec: Any) -> TrainingJob:
    spec = {"image": "torch:1", "command": ["torchrun", "x.py"], "nodes": 2} | spec
    if "recipe" in spec:
        del spec["command"]
    meta = {
        "name": "job",
        "namespace": "default",
        "uid": "job-uid",
        "resourceVersion": "1",
        "generation": generation,
        "creationTimestamp": "2026-11-23T10:00:00Z",
    }
    return TrainingJob.parse({"metadata": meta, "spec": spec, "status": status or {}})


class World:
    """Pods that come and go as the plan asks, and as a test makes them."""

    def __init__(self, **spec: Any) -> None:
        self.job = make_job(**spec)
        self.pods: dict[str, PodRecord] = {}
        self.now = NOW
        self.seen = Observed(watching_since=NOW)
        self.job_deleted = False
        self.events: list[str] = []
        self.made: list[CreateWorker] = []
        self.avoided_by_store: tuple[str, ...] = ()
        self.printed: dict[str, str] = {}  # ends of logs by pod name
        self.warned: dict[str, str] = {}  # newest warnings by pod name
        self.graces: dict[str, int | None] = {}
        for name in ("n1", "n2", "n3", "n4"):
            self.set_node(name)
        self._uid = 0

    def step(self) -> Plan:
        """One reconcile: plan, act, take over the status."""
        self.seen = replace(self.seen, pods=tuple(self.pods.values()))
        decided = plan(self.job, self.seen, self.now, RECIPES)
        self.act(decided)
        self.job = self.job.model_copy(update={"status": decided.status})
        return decided

    def act(self, decided: Plan) -> None:
        """What the API server makes of a plan's actions."""
        for action in decided.actions:
            match action:
                case CreateWorker():
                    name = names.worker_name(self.job, action.attempt, action.index, action.replacement)
                    if name not in self.pods:  # AlreadyExists is a success
                        self._add(name, "worker", action.attempt, action.index, action.replacement)
                        self.made.append(action)
                case CreateRendezvous():
                    if "job-rdzv" not in self.pods:
                        self.avoided_by_store = action.avoid
                        self._add("job-rdzv", "rendezvous", 0, 0)
                case DeletePod():
                    pod = self.pods.get(action.name)
                    if pod and pod.uid == action.uid:
                        self.graces[action.name] = action.grace_seconds
                        if action.grace_seconds == 0:
                            del self.pods[action.name]
                        else:
                            self.pods[action.name] = replace(pod, deleting=True)
                case ReadLog():
                    self.seen = replace(
                        self.seen, logs={**self.seen.logs, action.uid: self.printed.get(action.name, "")}
                    )
                case ReadEvents():
                    said = self.now, self.warned.get(action.name, "")
                    self.seen = replace(self.seen, warnings={**self.seen.warnings, action.uid: said})
                case DeleteJob():
                    self.job_deleted = True
                case _:
                    self.events.append(action.reason)

    def settle(self) -> Plan:
        """Reconcile until nothing changes."""
        for _ in range(20):
            before = (self.job.status, dict(self.pods), self.seen.logs, self.seen.warnings)
            decided = self.step()
            if (self.job.status, self.pods, self.seen.logs, self.seen.warnings) == before:
                return decided
        raise AssertionError(f"no fixed point: {self.job.status}")

    def _add(self, name: str, role: Any, attempt: int, index: int, replacement: int = 0) -> None:
        self._uid += 1
        self.pods[name] = PodRecord(
            namespace="default", name=name, uid=f"uid-{self._uid}", resource_version=self._uid, job_name="job", job_uid="job-uid",
            attempt=attempt, role=role, index=index, replacement=replacement, phase="Pending", created_at=self.now,
        )  # fmt: skip

    def workers(self) -> list[PodRecord]:
        live = [p for p in self.pods.values() if p.role == "worker" and not p.deleting]
        return sorted(live, key=lambda p: (p.attempt, p.index, p.replacement))

    def names(self) -> list[str]:
        return [p.name for p in self.workers()]

    def set_node(self, name: str, ready: bool = True, **fields: Any) -> None:
        node = NodeRecord(name, 1, ready=ready, unschedulable=False, ready_since=self.now, **fields)
        self.seen = replace(self.seen, nodes={**self.seen.nodes, name: node})

    def start(self) -> None:
        """A gang that runs."""
        self.settle()
        self.run_all()
        self.settle()

    def start_priced(self, usd: str = "36") -> None:
        """A gang of two that runs, each worker on a whole node of eight devices at so much an hour; the store is free."""
        for name in ("n1", "n2"):
            self.set_node(name, host=Host(override=usd, has=WHOLE))
        self.settle()
        self.fill()

    def fill(self) -> None:
        """The workers that wait get a whole node each, and run."""
        for pod in self.workers():
            self.change(pod.name, asks=WHOLE)
        self.run_all()
        self.settle()

    def change(self, name: str, **fields: Any) -> None:
        self.pods[name] = replace(self.pods[name], **fields)

    def schedule_all(self) -> None:
        for pod in list(self.pods.values()):
            if not pod.deleting and pod.scheduled_at is None:
                self.change(pod.name, scheduled_at=self.now, node=f"n{pod.index + 1}", unschedulable="")

    def run_all(self) -> None:
        self.schedule_all()
        for pod in list(self.pods.values()):
            if not pod.deleting and pod.phase == "Pending":
                self.change(pod.name, phase="Running", container=Container(running_since=self.now))

    def end(self, name: str, exit_code: int, message: str = "", reason: str = "") -> None:
        pod = self.pods[name]
        ended = replace(pod.container, exit_code=exit_code, finished_at=self.now, message=message, reason=reason)
        self.change(name, phase="Succeeded" if exit_code == 0 else "Failed", container=ended)

    def reap(self) -> None:
        """Pods that were ending are gone."""
        self.pods = {name: pod for name, pod in self.pods.items() if not pod.deleting}

    def set_spec(self, **spec: Any) -> None:
        meta = self.job.metadata.model_copy(update={"generation": self.job.metadata.generation + 1})
        self.job = self.job.model_copy(update={"spec": self.job.spec.model_copy(update=spec), "metadata": meta})

    def condition(self, type_: str) -> tuple[str, str]:
        found = next(c for c in self.job.status.conditions if c.type == type_)
        return found.status, found.reason


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")  # the class itself: hypothesis may use it for every example
def make_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def job_of() -> Any:
    return make_job

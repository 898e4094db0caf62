"""Every way in which a system is measured, by the name that the results have."""

from __future__ import annotations

from collections.abc import Callable

from bench.peers.bare import BareClient
from bench.peers.batch_job import BatchJob
from bench.peers.jobset import JobSet
from bench.peers.paceline import Paceline
from bench.peers.system import System
from bench.peers.trainer import Trainer
from bench.peers.training_operator import TrainingOperator

BASE = "paceline"
SYSTEMS: dict[str, Callable[[], System]] = {
    BASE: Paceline,
    "training-operator": lambda: TrainingOperator(raised=False),
    "training-operator-raised": lambda: TrainingOperator(raised=True),
    "trainer": lambda: Trainer(raised=False),
    "trainer-raised": lambda: Trainer(raised=True),
    "jobset": lambda: JobSet(raised=False),
    "jobset-raised": lambda: JobSet(raised=True),
    "job": lambda: BatchJob(raised=False),
    "job-raised": lambda: BatchJob(raised=True),
    "bare-client": BareClient,
}

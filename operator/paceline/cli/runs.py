"""The runs that advice is taken from: TrainingJobs of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import ValidationError

from paceline.api.spec import TrainingJobSpec
from paceline.api.trainingjob import TrainingJob
from paceline.cli.advise import AdviceError
from paceline.cli.cluster import Json
from paceline.cost.measured import Run, run, same_program


def named(found: Iterable[Json], names: Sequence[str], namespace: str, now: datetime) -> list[Run]:
    """These jobs, as NAME or tj/NAME. Raises AdviceError where one is not among ``found``, or has never run."""
    there = {each["metadata"]["name"]: each for each in found}
    runs = []
    for name in (given.removeprefix("tj/") for given in names):
        if name not in there:
            raise AdviceError(f"--from {name}: there is no TrainingJob of that name in {namespace}")
        try:
            one = run(TrainingJob.parse(there[name]), now)
        except (ValidationError, ValueError) as error:
            raise AdviceError(f"--from {name}: it cannot be read: {error}") from error
        if one is None:
            raise AdviceError(f"--from {name}: it has never run, and measured nothing")
        runs.append(one)
    return runs


def of_program(found: Iterable[Json], program: TrainingJobSpec, now: datetime) -> list[Run]:
    """All that have run the same program; what cannot be read measures nothing."""
    runs = []
    for each in found:
        try:
            job = TrainingJob.parse(each)
            one = run(job, now) if same_program(job.spec, program) else None
        except (ValidationError, ValueError):
            continue
        if one is not None:
            runs.append(one)
    return runs

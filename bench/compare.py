"""Versions of the operator beside one another on one cluster, in turn: what an optimization is worth, as a ratio."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import scenarios
from bench.figures import ALL, spreads
from bench.operator_process import OperatorProcess
from bench.workloads import Workload
from paceline.kube.client import Client
from tests.kube import ROOT

HERE = "this checkout"


@contextmanager
def checkouts(revisions: Sequence[str], folder: Path) -> Iterator[dict[str, Path]]:
    """Of each revision a work tree in ``folder``, while the context lasts, and this checkout. Raises CalledProcessError."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", ROOT, "worktree", *arguments], check=True, capture_output=True, text=True)

    made = {revision: folder / str(n) for n, revision in enumerate(revisions)}
    try:
        for revision, path in made.items():
            git("add", "--detach", str(path), revision)
        yield {**made, HERE: ROOT}
    finally:
        for path in made.values():
            if path.exists():
                git("remove", "--force", str(path))


async def compare(
    client: Client, sources: Mapping[str, Path], work: Workload, rounds: int, log: Path
) -> AsyncIterator[tuple[str, scenarios.Figures]]:
    """Figures as they come. Every other round goes backwards: a machine that slows down slows all of them.

    Raises RuntimeError where an operator ends.
    """
    order = list(sources)
    for _ in range(rounds):
        for name in order:
            operator = OperatorProcess(log, source=sources[name])
            await operator.start()
            try:
                yield name, await operator.during(scenarios.start_and_losses(client, operator, work))
            finally:
                operator.stop()
        order.reverse()


def table(found: Mapping[str, Sequence[scenarios.Figures]]) -> Iterator[str]:
    """Markdown: means, least and most of each version, and how many times the first's that is."""
    names = list(found)
    yield f"| figure | {' | '.join(names)} |"
    yield f"| --- |{' --- |' * len(names)}"
    by_name = {name: spreads(runs) for name, runs in found.items()}
    first = by_name[names[0]]
    for figure in first:
        cells = []
        for name in names:
            of = by_name[name][figure]
            ratio = f", {of.mean / first[figure].mean:.2f}×" if name != names[0] and first[figure].mean else ""
            cells.append(f"{of.mean:.3g} ({of.least:.3g} to {of.most:.3g}{ratio})")
        unit = ALL[figure].unit
        yield f"| {figure}{f' ({unit})' if unit else ''} | {' | '.join(cells)} |"

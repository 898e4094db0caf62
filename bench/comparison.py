"""The results of all systems beside one another: pure, of what `python -m bench versus --json` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.figures import Spread, spreads
from bench.peers.systems import BASE

Results = Mapping[str, Any]
# Figures of bench/versus.py by their heading.
COLUMNS: Mapping[str, str] = {
    "pods a second": "pods a second",
    "one job to its last pod, p50": "one job, median (s)",
    "one job to its last pod, p99": "one job, 99 % (s)",
    "lost worker replaced, p50": "lost worker, median (s)",
    "lost worker replaced, p99": "lost worker, 99 % (s)",
    "writes a job, whole cluster": "writes a job",
    "CPU a pod": "CPU a pod, own (ms)",
    "CPU a pod, API server": "API server's (ms)",
    "CPU a pod, controller manager": "controller manager's (ms)",
    "memory at rest": "memory at rest (MiB)",
    "memory": "with all jobs (MiB)",
}
# Of the kinds of writes, those that make less than this a job are not told.
FEW = 0.05


def by_system(results: Results) -> dict[str, dict[str, Spread]]:
    """Of each system each figure, over the runs that have it: one that did not finish has not all of them."""
    found: dict[str, dict[str, Spread]] = {}
    for name in names(results):
        runs = [run["systems"][name]["figures"] for run in results["runs"] if name in run["systems"]]
        figures = dict.fromkeys(figure for run in runs for figure in run)
        found[name] = {
            figure: spreads([{figure: run[figure]} for run in runs if figure in run])[figure] for figure in figures
        }
    return found


def names(results: Results) -> list[str]:
    """Of the systems that any run has, in the order in which they were measured."""
    return list(dict.fromkeys(name for run in results["runs"] for name in run["systems"]))


def table(results: Results) -> Iterator[str]:
    """Markdown: means, deviations where there were several runs, and how many times Paceline's that is."""
    found = by_system(results)
    yield f"| system | {' | '.join(COLUMNS.values())} |"
    yield f"| --- |{' --- |' * len(COLUMNS)}"
    base = found.get(BASE, {})
    for name, figures in found.items():
        cells = (_cell(figures.get(figure), None if name == BASE else base.get(figure)) for figure in COLUMNS)
        yield f"| {name} | {' | '.join(cells)} |"
    yield from (f"\n{line}" for line in notes(results))


def notes(results: Results) -> Iterator[str]:
    """What did not come, and where."""
    for number, run in enumerate(results["runs"], 1):
        for name, system in run["systems"].items():
            yield from (f"Run {number}, {name}: {note}." for note in system["notes"])


def writes(results: Results) -> Iterator[str]:
    """Markdown: of each system, what is written for a job while all jobs start, by everybody; means over the runs."""
    for name in names(results):
        runs = [run["systems"][name]["writes"] for run in results["runs"] if name in run["systems"]]
        kinds = dict.fromkeys(kind for run in runs for kind in run)
        means = {kind: sum(run.get(kind, 0) for run in runs) / len(runs) for kind in kinds}
        told = sorted(((n, kind) for kind, n in means.items() if n >= FEW), reverse=True)
        yield f"- {name}: {', '.join(f'{n:.1f} {kind}' for n, kind in told) or 'not known'}"


def _cell(of: Spread | None, base: Spread | None) -> str:
    if of is None:
        return "-"
    deviation = f" ± {of.deviation:.2g}" if of.deviation else ""
    ratio = f" ({of.mean / base.mean:.2g}×)" if base is not None and base.mean else ""
    return f"{of.mean:.3g}{deviation}{ratio}"

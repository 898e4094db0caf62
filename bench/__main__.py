"""How Paceline behaves with many jobs on a real API server with kwok's nodes.

python -m devcluster up --nodes 0 --kwok-nodes 20
python -m devcluster exec -- python -m bench run two-hundred --runs 5 --json results.json
python -m bench check results.json
python -m devcluster exec -- python -m bench versus --runs 3 --json versus.json
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from bench import churn, compare, figures, picture, reports, scenarios, trouble, versus_cli
from bench.operator_process import OperatorProcess
from bench.wire import Wire
from bench.workloads import WORKLOADS, Workload
from paceline.kube import config
from paceline.kube.client import Client
from tests.kube import ROOT, define_kinds
from tests.reading import RefusedError

# Of the jobs that come one after another; of those whose requests are counted, and how long they run.
SINGLES = 30
LIVES, LIFE_SECONDS = 50, 30

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(versus_cli.app)
Results = Annotated[Path, typer.Argument(help="What `run --json` wrote.", exists=True, dir_okay=False)]


@app.command()
def run(
    workload: Annotated[str, typer.Argument(help=f"One of: {', '.join(WORKLOADS)}.")] = "two-hundred",
    runs: Annotated[
        int | None, typer.Option(help="How often all is measured: 5, and 1 where the jobs stay on the cluster.", min=1)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go, run by run.")] = None,
) -> None:
    """Measures the operator of this checkout on the cluster that kubectl points at, which must have kwok's nodes."""
    if workload not in WORKLOADS:
        raise typer.BadParameter(f"no workload {workload!r}: take one of {', '.join(WORKLOADS)}")
    work = WORKLOADS[workload]
    runs = runs or (1 if work.stays else 5)
    if work.stays and runs > 1:
        raise typer.BadParameter(
            f"the jobs of {workload} stay on the cluster: take --runs 1, and another cluster for the next"
        )
    _install_crds()
    console, found = Console(), list[dict[str, Any]]()
    for n in range(1, runs + 1):
        console.print(f"• run {n} of {runs}: {work.jobs} jobs of {work.pods} workers (usually 4 to 15 minutes) …")
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        measured = asyncio.run(in_trouble(work) if workload == "trouble" else measure(work))
        found.append({"run": uuid.uuid4().hex[:8], "began": began, "figures": measured})
        if json_file:
            written = {"workload": workload, **asdict(work), "runs": found}
            json_file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    console.print(_table([one["figures"] for one in found]))


@app.command("compare")
def compare_command(
    revisions: Annotated[list[str], typer.Argument(help="Of this repository; the first is what ratios are of.")],
    rounds: Annotated[int, typer.Option(help="How often each is measured.", min=1)] = 3,
    jobs: Annotated[int, typer.Option(help="Of eight workers, all at once.", min=20)] = 150,
) -> None:
    """The operator of each revision and of this checkout, in turn: a burst, lost workers, lost workers in a crowd."""
    _install_crds()

    async def run() -> None:
        async with _client() as client, _log() as log:
            with compare.checkouts(revisions, log.parent) as sources:
                async for name, figures in compare.compare(client, sources, Workload(jobs, 8), rounds, log):
                    found[name].append(figures)
                    console.print(
                        f"• {name}: {figures['pods a second']:.0f} pods a second, {figures['CPU a pod']:.1f} ms …"
                    )

    console, found = Console(), defaultdict[str, list[scenarios.Figures]](list)
    asyncio.run(run())
    for line in compare.table(found):
        typer.echo(line)


@app.command("churn")
def churn_command(
    minutes: Annotated[float, typer.Option(help="How long jobs come.", min=0.1)] = 60,
    seed: Annotated[int, typer.Option(help="Of the jobs and of what breaks.")] = 1,
    faults: Annotated[bool, typer.Option(help="Break things meanwhile; without, growth is looked for.")] = True,
) -> None:
    """Jobs come and go: exits with 1 where one does not come to what it should, or something is left over, or grows."""
    _install_crds()
    console = Console()
    console.print(f"• {minutes:.0f} minutes of {churn.JOBS_A_MINUTE} jobs a minute, and until they have ended …")
    outcome = asyncio.run(churned(minutes * 60, seed, faults, console.print))
    console.print("jobs:  ", ", ".join(f"{count} {kind}" for kind, count in outcome.jobs.items()))
    console.print("faults:", ", ".join(f"{count} × {name}" for name, count in outcome.faults.items()) or "none")
    for line in outcome.wrong:
        console.print(line)
    if outcome.wrong:
        raise typer.Exit(1)
    console.print("every job came to what it should, its ledger adds up, and nothing is left over")


@app.command()
def check(results: Results) -> None:
    """Are the means within the bounds of bench/ranges.yaml? Says what is not, and exits with 1."""
    written = _read(results)
    bounds = figures.read_ranges(written["workload"])
    if not bounds:
        raise typer.BadParameter(f"{figures.RANGES.name} has no bounds for the workload {written['workload']}")
    said = figures.outside(_spreads(written), bounds)
    for line in said:
        typer.echo(line)
    typer.echo(f"{len(bounds) - len(said)} of {len(bounds)} figures are within their bounds")
    if said:
        raise typer.Exit(1)


@app.command("ranges")
def write_ranges(results: Results) -> None:
    """Writes the bounds of the workload anew: the mean of these runs, and a fifth more."""
    written = _read(results)
    known = yaml.safe_load(figures.RANGES.read_text(encoding="utf-8")) if figures.RANGES.exists() else {}
    known[written["workload"]] = figures.ranges(_spreads(written))
    head = "# Bounds by workload: `python -m bench ranges RESULTS` writes them, `make bench-check` holds to them.\n"
    figures.RANGES.write_text(head + yaml.safe_dump(known, sort_keys=False), encoding="utf-8")


@app.command()
def table(results: Results) -> None:
    """The figures as a Markdown table."""
    typer.echo("| figure | mean | deviation | least | most |\n| --- | --- | --- | --- | --- |")
    for name, of in _spreads(_read(results)).items():
        unit = figures.ALL[name].unit
        typer.echo(f"| {name} | {of.mean:.3g} {unit} | {of.deviation:.2g} | {of.least:.3g} | {of.most:.3g} |")


@app.command("draw")
def draw_picture(
    results: Annotated[list[Path], typer.Argument(help="What `run --json` wrote, one a workload.", exists=True)],
    to: Annotated[Path, typer.Option(help="The SVG that is written.")] = ROOT / "docs/images/bench.svg",
) -> None:
    """The figures of all runs as a picture."""
    picture.draw([_read(one) for one in results], to)


async def measure(work: Workload, singles: int = SINGLES) -> scenarios.Figures:
    """All figures of one run. After the operator's last words, raises TimeoutError where something does not come, RuntimeError
    where the operator ends."""
    async with _client() as client, _log() as log:
        operator = OperatorProcess(log, flags=reports.flags(log.parent))
        await operator.start()
        try:
            found = await scenarios.one_at_a_time(client, operator, Workload(singles, work.pods))
            found |= await reports.measure(client, operator, log.parent)
            lives = Workload(min(LIVES, work.jobs), work.pods, LIFE_SECONDS)
            found |= await scenarios.happy_life(client, operator, lives)
            most = scenarios.very_many if work.stays else scenarios.standing
            return found | await operator.during(most(client, operator, work))
        finally:
            operator.stop()


async def churned(seconds: float, seed: int, faults: bool, say: Callable[[str], None]) -> churn.Outcome:
    """As measure, of bench/churn.py."""
    async with _client() as client, _log() as log, Wire() as wire:
        operator = OperatorProcess(log, wire.kubeconfig(log.parent), churn.FLAGS)
        await operator.start()
        try:
            return await churn.Churn(client, operator, wire, seed).run(seconds, faults=faults, say=say)
        finally:
            operator.stop()


async def in_trouble(work: Workload) -> scenarios.Figures:
    """As measure, of bench/trouble.py."""
    async with _client() as client, _log() as log:
        return await trouble.measure(client, work, log)


def _install_crds() -> None:
    try:
        define_kinds()
    except (OSError, RefusedError) as error:
        raise typer.BadParameter(f"no cluster to measure on: {error}\n{__doc__}") from error


@asynccontextmanager
async def _client() -> AsyncIterator[Client]:
    client = Client(config.load())
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _log() -> AsyncIterator[Path]:
    """Where operators write; its end is shown where something does not come."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "operator.log"
        try:
            yield log
        except (TimeoutError, RuntimeError):
            lines = log.read_text("utf-8").splitlines()[-20:]
            Console(stderr=True).print("the operator's last words:", *lines, sep="\n")
            raise


def _read(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return found


def _spreads(written: dict[str, Any]) -> dict[str, figures.Spread]:
    return figures.spreads([one["figures"] for one in written["runs"]])


def _table(runs: list[scenarios.Figures]) -> Table:
    shown = Table("figure", "", "mean", "deviation", "least", "most")
    for name, of in figures.spreads(runs).items():
        numbers = (f"{value:.3g}" for value in (of.mean, of.deviation, of.least, of.most))
        shown.add_row(name, figures.ALL[name].unit, *numbers)
    return shown


if __name__ == "__main__":
    app()

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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from bench import figures, picture, scenarios, versus_cli
from bench.operator_process import OperatorProcess
from bench.workloads import WORKLOADS, Workload
from paceline.kube import config
from paceline.kube.client import Client
from tests.kube import ROOT, kubectl
from tests.reading import RefusedError

# Of the jobs that come one after another; of those whose requests are counted, and how long they run.
SINGLES = 30
LIVES, LIFE_SECONDS = 50, 10

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(versus_cli.app)
Results = Annotated[Path, typer.Argument(help="What `run --json` wrote.", exists=True, dir_okay=False)]


@app.command()
def run(
    workload: Annotated[str, typer.Argument(help=f"One of: {', '.join(WORKLOADS)}.")] = "two-hundred",
    runs: Annotated[int, typer.Option(help="How often all is measured.", min=1)] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go, run by run.")] = None,
) -> None:
    """Measures the operator of this checkout on the cluster that kubectl points at, which must have kwok's nodes."""
    if workload not in WORKLOADS:
        raise typer.BadParameter(f"no workload {workload!r}: take one of {', '.join(WORKLOADS)}")
    work = WORKLOADS[workload]
    try:
        kubectl("apply", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "crd/trainingjobs.paceline.dev", "--timeout=30s")
    except (OSError, RefusedError) as error:
        raise typer.BadParameter(f"no cluster to measure on: {error}\n{__doc__}") from error
    console, found = Console(), list[dict[str, Any]]()
    for n in range(1, runs + 1):
        console.print(f"• run {n} of {runs}: {work.jobs} jobs of {work.pods} workers (usually 4 to 15 minutes) …")
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        measured = asyncio.run(measure(work))
        found.append({"run": uuid.uuid4().hex[:8], "began": began, "figures": measured})
        if json_file:
            written = {"workload": workload, **asdict(work), "runs": found}
            json_file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    console.print(_table([one["figures"] for one in found]))


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
        unit = figures.FIGURES[name].unit
        typer.echo(f"| {name} | {of.mean:.3g} {unit} | {of.deviation:.2g} | {of.least:.3g} | {of.most:.3g} |")


@app.command("draw")
def draw_picture(
    results: Annotated[list[Path], typer.Argument(help="What `run --json` wrote, one a workload.", exists=True)],
    to: Annotated[Path, typer.Option(help="The SVG that is written.")] = ROOT / "docs/images/bench.svg",
) -> None:
    """The figures of all runs as a picture."""
    picture.draw([_read(one) for one in results], to)


async def measure(work: Workload, singles: int = SINGLES) -> scenarios.Figures:
    """All figures of one run. Raises TimeoutError, after the operator's last words, where something does not come."""
    client = Client(config.load())
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "operator.log"
        operator = OperatorProcess(log)
        await operator.start()
        try:
            found = await scenarios.one_at_a_time(client, operator, Workload(singles, work.pods))
            lives = replace(work, jobs=min(LIVES, work.jobs), seconds=LIFE_SECONDS)
            found |= await scenarios.happy_life(client, operator, lives)
            return found | await scenarios.standing(client, operator, work)
        except TimeoutError:
            lines = log.read_text("utf-8").splitlines()[-20:]
            Console(stderr=True).print("the operator's last words:", *lines, sep="\n")
            raise
        finally:
            operator.stop()
            await client.close()


def _read(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return found


def _spreads(written: dict[str, Any]) -> dict[str, figures.Spread]:
    return figures.spreads([one["figures"] for one in written["runs"]])


def _table(runs: list[scenarios.Figures]) -> Table:
    shown = Table("figure", "", "mean", "deviation", "least", "most")
    for name, of in figures.spreads(runs).items():
        numbers = (f"{value:.3g}" for value in (of.mean, of.deviation, of.least, of.most))
        shown.add_row(name, figures.FIGURES[name].unit, *numbers)
    return shown


if __name__ == "__main__":
    app()

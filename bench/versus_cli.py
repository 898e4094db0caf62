"""`python -m bench versus`: all systems in turn, in one run, and what became of it as a table and a picture."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import comparison, picture, versus
from bench.peers import build, install
from bench.peers.systems import SYSTEMS
from bench.workloads import Workload
from devcluster.console import ClusterError
from paceline.kube import config
from paceline.kube.client import Client
from tests.kube import ROOT, wait_until_served
from tests.reading import RefusedError

app = typer.Typer()
Results = Annotated[Path, typer.Argument(help="What `versus --json` wrote.", exists=True, dir_okay=False)]


@app.command("versus-build")
def build_peers() -> None:
    """Builds the peers from their published modules, outside of the cluster's network: that reaches no proxy of modules."""
    build.ensure()


@app.command("versus")
def run(
    jobs: Annotated[int, typer.Option(help="Jobs that are created at once.", min=1)] = 200,
    pods: Annotated[int, typer.Option(help="Workers of each job.", min=2)] = 8,
    runs: Annotated[int, typer.Option(help="How often all systems are measured.", min=1)] = 3,
    systems: Annotated[str, typer.Option(help="In this order, separated by commas.")] = ",".join(SYSTEMS),
    singles: Annotated[int, typer.Option(help="Jobs that come one after another.", min=1)] = 15,
    patience: Annotated[float, typer.Option(help="Seconds until a burst is given up.")] = 900,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go, system by system.")] = None,
) -> None:
    """Paceline and its peers on the embedded cluster, which must have kwok's nodes; `versus-build` comes first."""
    chosen = systems.split(",")
    if unknown := [name for name in chosen if name not in SYSTEMS]:
        raise typer.BadParameter(f"no system {', '.join(unknown)}: take some of {', '.join(SYSTEMS)}")
    if absent := build.missing():
        raise typer.BadParameter(f"not built: {', '.join(absent)}; python -m bench versus-build does that")
    console, work = Console(), Workload(jobs, pods)
    results: dict[str, Any] = {"jobs": jobs, "pods": pods, "singles": singles, "versions": _versions(), "runs": []}
    try:
        # All of them before the first is measured: every system meets the same cluster.
        for system in {type(one): one for one in (SYSTEMS[name]() for name in chosen)}.values():
            system.install()
        wait_until_served()
    except (ClusterError, RefusedError) as error:
        raise typer.BadParameter(f"the peers cannot be installed: {error}") from error
    limits = versus.Patience(single=60, burst=patience)
    try:
        for n in range(runs):
            found: dict[str, Any] = {}
            results["runs"].append({"run": uuid.uuid4().hex[:8], "began": _now(), "systems": found})
            # Each run begins with another one: nobody is always the first on a fresh cluster.
            first = n % len(chosen)
            for name in chosen[first:] + chosen[:first]:

                def say(what: str, where: str = f"run {n + 1} of {runs}, {name}") -> None:
                    console.print(f"• {_now()} {where}: {what} …", highlight=False)

                found[name] = asdict(asyncio.run(_measure(name, work, singles, limits, say)))
                if json_file:
                    json_file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    finally:
        install.unmount()
    for line in comparison.table(results):
        typer.echo(line)


@app.command("versus-table")
def table(results: Results) -> None:
    """All systems beside one another as a Markdown table with ratios to Paceline, and what was written for a job."""
    written = json.loads(results.read_text(encoding="utf-8"))
    for line in (*comparison.table(written), "", *comparison.writes(written)):
        typer.echo(line)


@app.command("versus-draw")
def draw(
    results: Results,
    to: Annotated[Path, typer.Option(help="The SVG that is written.")] = ROOT / "docs/images/versus.svg",
) -> None:
    """All systems as a picture, every run a point."""
    picture.draw_versus(json.loads(results.read_text(encoding="utf-8")), to)


async def _measure(name: str, work: Workload, singles: int, patience: versus.Patience, say: Any) -> versus.Measured:
    client = Client(config.load())
    try:
        return await versus.measure(client, SYSTEMS[name](), work, singles, patience, say)
    finally:
        await client.close()


def _versions() -> dict[str, str]:
    return {module: version for module, version, _ in build.MODULES}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

"""How Paceline behaves with many jobs on a real API server with kwok's nodes.

python -m devcluster up --nodes 0 --kwok-nodes 20
python -m devcluster exec -- python -m bench --jobs 200 --pods 8 --runs 5 --json results.json
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import scenarios
from bench.operator_process import OperatorProcess
from bench.workloads import Workload
from paceline.kube import config
from paceline.kube.client import Client
from tests.kube import ROOT, kubectl
from tests.reading import RefusedError

# Of the jobs that come one after another.
SINGLES = 30
LIFE_SECONDS = 10


def main(
    jobs: Annotated[int, typer.Option(help="Jobs that are created at once.", min=1)] = 200,
    pods: Annotated[int, typer.Option(help="Workers of each.", min=2)] = 8,
    runs: Annotated[int, typer.Option(help="How often all is measured.", min=1)] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go, run by run.")] = None,
) -> None:
    """Measures the operator of this checkout on the cluster that kubectl points at, which must have kwok's nodes."""
    try:
        kubectl("apply", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "crd/trainingjobs.paceline.dev", "--timeout=30s")
    except (OSError, RefusedError) as error:
        raise typer.BadParameter(f"no cluster to measure on: {error}\n{__doc__}") from error
    console = Console()
    found = []
    for run in range(1, runs + 1):
        console.print(f"• run {run} of {runs}: {jobs} jobs of {pods} workers (usually 3 minutes) …")
        found.append(asyncio.run(_measure(jobs, pods)))
        if json_file:
            json_file.write_text(json.dumps({"jobs": jobs, "pods": pods, "runs": found}, indent=2) + "\n", "utf-8")
    table = Table("figure", "mean", "deviation", "least", "most")
    for name in found[0]:
        values = [run[name] for run in found]
        spread = statistics.stdev(values) if runs > 1 else 0.0
        table.add_row(name, *(f"{value:.3g}" for value in (statistics.mean(values), spread, min(values), max(values))))
    console.print(table)


async def _measure(jobs: int, pods: int) -> scenarios.Figures:
    client = Client(config.load())
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "operator.log"
        operator = OperatorProcess(log)
        await operator.start()
        try:
            figures = await scenarios.one_at_a_time(client, operator, Workload(SINGLES, pods))
            figures |= await scenarios.happy_life(client, operator, Workload(jobs // 4 or 1, pods, LIFE_SECONDS))
            return figures | await scenarios.burst(client, operator, Workload(jobs, pods))
        except TimeoutError:
            Console(stderr=True).print(
                "the operator's last words:", *log.read_text("utf-8").splitlines()[-20:], sep="\n"
            )
            raise
        finally:
            operator.stop()
            await client.close()


if __name__ == "__main__":
    typer.run(main)

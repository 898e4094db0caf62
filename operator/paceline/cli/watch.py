"""`paceline watch`: a job's phase, progress and pods, live in the terminal."""

from __future__ import annotations

import time
from typing import Any

from kubernetes.client.exceptions import ApiException
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from urllib3.exceptions import HTTPError

from paceline.api import GROUP, PLURAL, VERSION
from paceline.cli.cluster import Cluster, Json
from paceline.render.names import LABEL_INDEX, LABEL_JOB_NAME, LABEL_ROLE

EVERY_SECONDS = 1.0
COLOURS = {
    "Running": "green",
    "Succeeded": "bold green",
    "Failed": "bold red",
    "Recovering": "yellow",
    "Suspended": "blue",
}


def follow(name: str, namespace: str, context: str) -> int:
    """Until the job ends. 0: succeeded, 1: failed or deleted, 2: there is no such job. Raises ClusterError."""
    console = Console()
    cluster = Cluster.of(context, namespace)
    namespace = cluster.namespace
    phase = said = ""
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            try:
                job: Any = cluster.jobs.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
            except ApiException as error:
                if error.status != 404:
                    raise cluster.explain(error, namespace) from error
                console.print(f"TrainingJob {namespace}/{name} " + ("was deleted" if phase else "does not exist"))
                return 1 if phase else 2
            except HTTPError as error:
                raise cluster.explain(error, namespace) from error
            pods = cluster.core.list_namespaced_pod(namespace, label_selector=f"{LABEL_JOB_NAME}={name}").items
            live.update(view(job, pods))
            phase = (job.get("status") or {}).get("phase", "")
            if not console.is_terminal and line(job) != said:
                said = line(job)
                console.print(said, highlight=False, soft_wrap=True)
            if phase in ("Succeeded", "Failed"):
                return 0 if phase == "Succeeded" else 1
            time.sleep(EVERY_SECONDS)


def line(job: Json) -> str:
    """One line of a job, for logs and pipes."""
    status: Json = job.get("status") or {}
    progress: Json = status.get("progress") or {}
    metrics = {m["name"]: m["value"] for m in progress.get("metrics", [])}
    parts = [
        f"{status.get('phase', 'Pending'):10}",
        f"nodes {(status.get('nodes') or {}).get('summary', '-')}",
        *([f"{progress['percent']} %"] if "percent" in progress else []),
        *([f"eta {progress['eta']}"] if "eta" in progress else []),
        *([f"loss {metrics['loss']}"] if "loss" in metrics else []),
        status.get("message", ""),
    ]
    return f"{job['metadata']['name']}: " + "  ".join(parts)


def view(job: Json, pods: list[Any]) -> Group:
    status: Json = job.get("status") or {}
    progress: Json = status.get("progress") or {}
    phase = status.get("phase", "Pending")
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(f"tj/{job['metadata']['name']}", style="bold"),
        Text(phase, style=COLOURS.get(phase, "cyan")),
        f"nodes {(status.get('nodes') or {}).get('summary', '-')}",
        f"attempt {status.get('attempt', 0)}",
        f"eta {progress.get('eta', '-')}",
    )
    rows: list[Any] = [head, Text(status.get("message", ""), style="dim")]
    if "percent" in progress:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=100, completed=float(progress["percent"]), width=50), f"{progress['percent']} %")
        metrics = "  ".join(f"{m['name']} {m['value']}" for m in progress.get("metrics", [])[:6])
        rows += [bar, Text(metrics)]
    table = Table("POD", "NODE", "PHASE", box=None, header_style="dim")
    for pod in sorted(pods, key=lambda p: (p.metadata.labels[LABEL_ROLE], int(p.metadata.labels.get(LABEL_INDEX, 0)))):
        table.add_row(pod.metadata.name, pod.spec.node_name or "-", pod.status.phase)
    return Group(*rows, table)

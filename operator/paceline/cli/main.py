"""`paceline`: the operator itself, and what a user asks of it from a terminal."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

from paceline import __version__
from paceline.api.crd import CRDS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # the operator's log is read by programs
    help="Multi-node PyTorch training on Kubernetes.",
)


def catalogue(of: Literal["recipes", "methods"] = "recipes") -> dict[str, dict[str, Any]]:
    """The schemas of the recipes or of the compression methods, as the trainer published them (`make crds`)."""
    text = files("paceline.api").joinpath(f"{of}.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = json.loads(text)
    return loaded


@app.command()
def operator(
    trainer_image: Annotated[
        str, typer.Option(envvar="PACELINE_TRAINER_IMAGE", help="Image of jobs that name a recipe and no image.")
    ],
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics, /healthz and /readyz (HTTP).")] = 8080,
    progress_port: Annotated[int, typer.Option(help="Port of the progress endpoint (HTTPS).")] = 8443,
    progress_host: Annotated[
        str, typer.Option(help="Name of the progress service, SERVICE.NAMESPACE.svc; empty: none.")
    ] = "",
    progress_tls_dir: Annotated[Path, typer.Option(help="Folder with ca.crt, tls.crt and tls.key.")] = Path(
        "/etc/paceline/tls"
    ),
    price_books: Annotated[
        Path | None, typer.Option(help="Folder of price books, NAME.csv (docs/prices.md). Default: no prices.")
    ] = None,
    finished_series_seconds: Annotated[
        float, typer.Option(min=0, help="How long the metrics of a job that has ended are served.")
    ] = 3600,
    job_network_policy: Annotated[
        str,
        typer.Option(
            help="Make a network policy for every gang, of this JSON: operator (its pods' labels), metricsFrom (peers), "
            "extraEgress (rules). Empty: none."
        ),
    ] = "",
    job_disruption_budgets: Annotated[
        bool, typer.Option("--job-disruption-budgets", help="Make a disruption budget for every gang.")
    ] = False,
    prometheus_url: Annotated[
        str, typer.Option(help="Prometheus that has the DCGM exporter's series, http://HOST:PORT; empty: none.")
    ] = "",
    prometheus_active: Annotated[
        str, typer.Option(help="Series of the devices' activity, 0 to 1.")
    ] = "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    prometheus_utilization: Annotated[
        str, typer.Option(help="Series for pods that do not have that one, 0 to 100.")
    ] = "DCGM_FI_DEV_GPU_UTIL",
    prometheus_every_seconds: Annotated[float, typer.Option(min=1, help="How often Prometheus is asked.")] = 30,
    lease_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the leader's lease.")
    ] = "default",
    identity: Annotated[
        str, typer.Option(envvar="POD_NAME", help="Who holds the lease. Default: host and process id.")
    ] = "",
    pod_ip: Annotated[
        str, typer.Option(envvar="POD_IP", help="Address behind the progress service while leading.")
    ] = "",
    log_format: Annotated[str, typer.Option(help="json or text.")] = "json",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the operator (the chart does this)."""
    import uvloop  # the other commands need none of these

    from paceline.controller.prometheus import Source
    from paceline.render.guards import fence
    from paceline.shell import logging, operator

    logging.setup(log_level, log_format)
    options = operator.Options(
        trainer_image=trainer_image,
        metrics_port=metrics_port,
        progress_port=progress_port,
        progress_host=progress_host,
        progress_tls_dir=progress_tls_dir,
        price_books=price_books,
        fence=fence(job_network_policy, lease_namespace, progress_port) if job_network_policy else None,
        disruption_budgets=job_disruption_budgets,
        finished_series_seconds=finished_series_seconds,
        prometheus=Source(prometheus_url, prometheus_active, prometheus_utilization, prometheus_every_seconds)
        if prometheus_url
        else None,
        lease_namespace=lease_namespace,
        identity=identity,
        pod_ip=pod_ip,
    )
    raise typer.Exit(uvloop.run(operator.serve(options, catalogue(), catalogue("methods"))))


@app.command()
def crds(plural: Annotated[str, typer.Argument(help="Of this kind only, e.g. trainingjobs.")] = "") -> None:
    """Print the CustomResourceDefinitions as YAML."""
    if plural and plural not in CRDS:
        raise typer.BadParameter(f"there is no kind {plural}; there are: {', '.join(CRDS)}")
    chosen = [make() for name, make in CRDS.items() if plural in ("", name)]
    typer.echo("# Generated from operator/paceline/api by `make crds`; do not edit.")
    typer.echo(yaml.safe_dump_all(chosen, sort_keys=False, width=120, allow_unicode=True), nl=False)


@app.command()
def recipes(name: Annotated[str, typer.Argument(help="A recipe, to see its parameters.")] = "") -> None:
    """List the recipes, or one recipe's parameters."""
    _explain("recipe", catalogue(), name)


@app.command()
def methods(name: Annotated[str, typer.Argument(help="A method, to see its parameters.")] = "") -> None:
    """List the compression methods, or one method's parameters."""
    _explain("method", catalogue("methods"), name)


def _explain(what: str, known: dict[str, dict[str, Any]], name: str) -> None:
    if not name:
        for each, schema in sorted(known.items()):
            typer.echo(f"{each:24} {schema.get('description', '')}")
        return
    if name not in known:
        typer.echo(f"there is no {what} {name!r}; there are: {', '.join(sorted(known))}", err=True)
        raise typer.Exit(2)
    for param, schema in known[name].get("properties", {}).items():
        bounds = "".join(
            f" {word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema
        )
        choices = f" one of {schema['enum']}" if "enum" in schema else ""
        kind = f"{schema.get('type', '')}{bounds}{choices}, default {json.dumps(schema.get('default'))}"
        typer.echo(f"{param:20} {schema.get('description', '')} ({kind})")


@app.command()
def watch(
    name: Annotated[str, typer.Argument(help="The TrainingJob, as NAME or tj/NAME.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Its namespace. Default: the context's.")] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
) -> None:
    """Follow a TrainingJob live until it ends; exits 0 when it succeeded, 1 when it failed."""
    from paceline.cli.cluster import ClusterError
    from paceline.cli.watch import follow

    try:
        raise typer.Exit(follow(name.removeprefix("tj/"), namespace, context))
    except ClusterError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def cost(
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of the whole cluster, not of one namespace.")
    ] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Default: the context's.")] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
    by: Annotated[Literal["job", "namespace", "team", "day"], typer.Option(help="What to sum by.")] = "job",
    since: Annotated[
        str, typer.Option(help="First day (UTC): a date (2026-11-01), or 7d for the last seven days with today.")
    ] = "",
    until: Annotated[str, typer.Option(help="Last day (UTC), as --since. Default: today.")] = "",
    output: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--output", "-o", help="json and csv have exact dollars, as strings; what is unknown is empty."),
    ] = "table",
) -> None:
    """What the TrainingJobs of the cluster have cost, the dearest first.

    IDLE and LOST are parts of USD: devices that did nothing, and what failures and starting took (docs/cost.md).
    """
    from paceline.cli.cluster import Cluster, ClusterError
    from paceline.cli.cost import QuestionError, bill, show

    if all_namespaces and namespace:
        raise typer.BadParameter("give this or --namespace, not both", param_hint="--all-namespaces")
    try:
        found = Cluster.of(context, namespace).list_jobs(everywhere=all_namespaces)
        show(bill(found, by, datetime.now(UTC), since, until), output, everywhere=all_namespaces)
    except (ClusterError, QuestionError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def advise(
    file: Annotated[Path, typer.Option("--file", "-f", help="Manifest of the TrainingJob.")],
    on: Annotated[
        str | None,
        typer.Option(help="Device that it is of, as the price book calls it. Default: the one that the runs had."),
    ] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="That the job takes with the devices it asks for.")] = None,
    samples: Annotated[float | None, typer.Option(min=0, help="To be trained on in all: epochs × samples.")] = None,
    throughput: Annotated[float | None, typer.Option(min=1e-9, help="Samples a second of one device.")] = None,
    within_hours: Annotated[float, typer.Option(min=0, help="The cheapest that is done in this time.")] = math.inf,
    under_usd: Annotated[float | None, typer.Option(min=0, help="The fastest that costs no more.")] = None,
    scaling: Annotated[str, typer.Option(help="Measured shares of a lone machine's speed, as 2:0.97,4:0.92.")] = "",
    preemptions_per_hour: Annotated[float | None, typer.Option(min=0, help="Of a spot machine, as measured.")] = None,
    lost_minutes: Annotated[
        float | None,
        typer.Option(min=0, help="That each preemption takes from the job. Default: 10, where no run says."),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from", help="A TrainingJob that has run (NAME or tj/NAME): what it measured counts. Repeatable."
        ),
    ] = None,
    from_runs: Annotated[
        bool,
        typer.Option(
            "--from-runs", help="As --from, all in the namespace with the recipe, or image and command, of -f."
        ),
    ] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of --from. Default: the context's.")] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig, for --from.")] = "",
    max_machines: Annotated[int, typer.Option(min=1, max=4096, help="To look at.")] = 16,
    price_book: Annotated[Path | None, typer.Option(help="CSV (docs/prices.md). Default: the dated example.")] = None,
    output: Annotated[
        Literal["table", "json", "csv"], typer.Option("--output", "-o", help="Form of the answer.")
    ] = "table",
) -> None:
    """Compare what a job costs and takes on each machine of a price book.

    Throughput, scaling and preemptions are those of earlier runs (--from, --from-runs), where no option gives them by hand.
    """
    from paceline.cli.advise import AdviceError, Question, read, show
    from paceline.cli.advise import advise as answer
    from paceline.cli.cluster import Cluster, ClusterError
    from paceline.cli.runs import named, of_program

    try:
        job, runs = read(file), []
        if from_ or from_runs:
            cluster, now = Cluster.of(context, namespace), datetime.now(UTC)
            found = cluster.list_jobs()
            runs = named(found, from_ or [], cluster.namespace, now)
            known = {one.name for one in runs}
            runs += [one for one in of_program(found, job, now) if from_runs and one.name not in known]
        question = Question(
            job=job,
            device=on,
            hours=hours,
            samples=samples,
            throughput=throughput,
            within_hours=within_hours,
            under_usd=None if under_usd is None else Decimal(str(under_usd)),
            scaling=scaling,
            preemptions_per_hour=preemptions_per_hour,
            lost_hours=None if lost_minutes is None else lost_minutes / 60,
            max_machines=max_machines,
            price_book=price_book,
            runs=tuple(runs),
        )
        show(answer(question), output)
    except (AdviceError, ClusterError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="The CompressionJob, as NAME, cpj/NAME or compressionjob/NAME.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Its namespace. Default: the context's.")] = "",
    context: Annotated[str, typer.Option(help="Context of the kubeconfig.")] = "",
    html: Annotated[Path | None, typer.Option(help="Save it as one HTML page, with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Save it as Markdown.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with exact figures as strings.")] = False,
) -> None:
    """What a CompressionJob came to: each stage beside the source, its gates, and when it is paid for.

    Files that are saved are named; with --html or --markdown nothing else is printed, unless --json is given, too.
    """
    from paceline.cli.cluster import Cluster, ClusterError
    from paceline.cli.report import ReportError, print_json, read, save, show
    from paceline.render import compression_report

    try:
        job = read(Cluster.of(context, namespace), name)
        for path, write in ((html, compression_report.html), (markdown, compression_report.markdown)):
            if path is not None:
                save(path, write(job))
                typer.echo(f"wrote {path}", err=True)
        if as_json:
            print_json(job)
        elif html is None and markdown is None:
            show(job)
    except (ClusterError, ReportError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)

"""Compressed models: what they cost and save, and one compression beside its source."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.panels import (
    BYTES,
    COUNT,
    MORE_IS_WORSE,
    RATIO,
    SECONDS,
    USD,
    bars,
    board,
    choice,
    curves,
    figure,
    listing,
)

ALL = 'namespace="$namespace"'
HERE = 'namespace="$namespace", job="$job"'
JOB = "namespace, job, kind"
TO_SOURCE = (
    "source",
    "The source's dashboard",
    "/d/paceline-job?var-datasource=${datasource}&var-namespace=${__data.fields.namespace}&var-job=${__value.raw}",
)


def one(metric: str, more: str = "") -> str:
    return f"max(paceline_compression_{metric}{{{HERE}{more}}})"


def by(labels: str, metric: str, more: str = "") -> str:
    return f"max by ({labels}) (paceline_compression_{metric}{{{HERE}{more}}})"


COST = f"max(job:paceline_compression_cost_usd:max{{{HERE}}})"
BEFORE = one("serving_cost_usd_per_million_requests", ', stage="source"')
AFTER = one("serving_cost_usd_per_million_requests", ', stage!="source"')


def of_all(expr: str) -> str:
    """By job, with what it is and came to: the labels of its row."""
    info = f"topk by ({JOB}) (1, paceline_compression_info{{{ALL}}})"  # two, while another process begins to lead
    return f"({expr}) * on ({JOB}) group_left (verdict, phase, source) {info}"


def compression() -> Dashboard:
    verdict = [
        figure(
            "Verdict",
            "Accepted, Regression, Infeasible or BudgetExceeded. None: it has not ended.",
            by("verdict", "info", ', verdict!=""'),
            "none",
            legend="{{verdict}}",
        ),
        figure("Cost", "Dollars spent on all stages of all trials.", COST, USD),
        figure(
            "Budget used",
            "Of spec.cost.budget.maxUSD.",
            one("budget_used_ratio"),
            RATIO,
            steps=MORE_IS_WORSE,
        ),
        figure(
            "Gates met",
            "Share of them, of the stage that was taken, or else of the last one that was judged.",
            f"avg({by('gate', 'gate_passed')})",
            RATIO,
            steps=((None, "red"), (1, "green")),
        ),
        figure(
            "Saved by serving",
            "Share of the source's dollars for a million requests; below 0 it costs more.",
            f"1 - {AFTER} / {BEFORE}",
            RATIO,
            steps=((None, "red"), (0, "green")),
        ),
        figure(
            "Paid for after",
            "Requests. None, where serving costs are known: never, since serving it saves nothing.",
            f"{one('break_even_requests')} < Inf",
            COUNT,
        ),
    ]
    stages = [
        bars(
            "Size",
            "Bytes of the file that is served, by stage.",
            [(by("stage", "model_size_bytes"), "{{stage}}")],
            BYTES,
            width=8,
        ),
        bars(
            "Median latency",
            "Of one call, by stage; it holds for the batch, threads and device of spec.measure only.",
            [(by("stage", "latency_seconds", ', quantile="0.5"'), "{{stage}}")],
            SECONDS,
            width=8,
        ),
        bars(
            "95th percentile and 99th of the latency",
            "Of one call, by stage.",
            [
                (by("stage", "latency_seconds", ', quantile="0.95"'), "{{stage}} 95 %"),
                (by("stage", "latency_seconds", ', quantile="0.99"'), "{{stage}} 99 %"),
            ],
            SECONDS,
            width=8,
        ),
        listing(
            "Scores",
            "On the evaluation split, by stage; the report has their standard errors.",
            {"score": (by("stage, metric", "score"), COUNT)},
            ("stage", "metric"),
            width=8,
        ),
        bars(
            "Gates",
            "1: met. By what was asked for.",
            [(by("gate", "gate_passed"), "{{gate}}")],
            "none",
            width=8,
            steps=((None, "red"), (1, "green")),
        ),
        bars(
            "Dollars for a million requests",
            "Of serving the source, and the stage that was taken.",
            [(by("stage", "serving_cost_usd_per_million_requests"), "{{stage}}")],
            USD,
            width=8,
        ),
    ]
    over_time = [
        curves(
            "Cost",
            "Dollars spent on all stages of all trials.",
            [(COST, "spent")],
            USD,
        ),
        curves(
            "Score of the accuracy",
            "On the evaluation split, by stage, as trials replace each other.",
            [(by("stage", "score", ', metric="accuracy"'), "{{stage}}")],
            COUNT,
        ),
    ]
    every = [
        listing(
            "Compressions of the namespace",
            "What they cost, save and ask for until they are paid for; an empty cell is unknown, or never.",
            {
                "cost": (of_all(f"job:paceline_compression_cost_usd:max{{{ALL}}}"), USD),
                "saved for a million requests": (
                    of_all(f"job:paceline_compression_serving_saved_usd_per_million_requests:max{{{ALL}}}"),
                    USD,
                ),
                "paid for after requests": (
                    of_all(f"max by ({JOB}) (paceline_compression_break_even_requests{{{ALL}}} < Inf)"),
                    COUNT,
                ),
            },
            ("namespace", "job", "source", "verdict", "phase"),
            link=TO_SOURCE,
        ),
    ]
    variables = [
        choice("namespace", "Namespace", "label_values(paceline_compression_info, namespace)"),
        choice("job", "Compression", 'label_values(paceline_compression_info{namespace="$namespace"}, job)'),
    ]
    return board(
        "paceline-compression",
        "Compression",
        "What a compression came to beside its source, and when it is paid for.",
        variables,
        {
            "Verdict": verdict,
            "By stage": stages,
            "While it ran": over_time,
            "All": every,
        },
        since="now-6h",
    )

"""One job: what it costs, where its time goes, how far it is."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.panels import (
    BYTES,
    COUNT,
    EACH_SECOND,
    MORE_IS_BETTER,
    MORE_IS_WORSE,
    RATIO,
    SECONDS,
    USD,
    bars,
    board,
    choice,
    curves,
    figure,
)

HERE = 'namespace="$namespace", job="$job"'
# The job's own pods; their scrape's `job` is another.
PODS = 'namespace="$namespace", job_name="$job"'
COST = f"sum(max by (resource) (paceline_job_cost_usd_total{{{HERE}}}))"
LOST = f"max by (reason) (paceline_job_lost_cost_usd_total{{{HERE}}})"
BADPUT = f"max by (reason) (paceline_job_badput_seconds_total{{{HERE}}})"


def one(metric: str) -> str:
    return f"max(paceline_job_{metric}{{{HERE}}})"


def quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{HERE}}}[$__rate_interval])))"


# Until now, or until the job ended.
ELAPSED = f"(({one('completed_timestamp_seconds')} or vector(time())) - {one('created_timestamp_seconds')})"


def job() -> Dashboard:
    first = [
        figure("Cost", "Dollars since the job was made.", COST, USD),
        figure(
            "Forecast",
            "Dollars at the end, at the present rate and goodput. None: the job reports no progress, or is over.",
            one("cost_forecast_usd"),
            USD,
        ),
        figure(
            "Budget used",
            "Of spec.cost.budget.maxUSD.",
            one("budget_used_ratio"),
            RATIO,
            steps=MORE_IS_WORSE,
        ),
        figure("Costs an hour", "What its pods that are there cost an hour, now.", one("cost_rate_usd_per_hour"), USD),
        figure(
            "Goodput",
            "Training, checkpoints and evaluation, of all time but waiting for nodes and suspensions.",
            one("goodput_ratio"),
            RATIO,
            steps=MORE_IS_BETTER,
        ),
        figure("Time to the end", "As the program estimates it.", one("eta_seconds"), SECONDS),
    ]
    money = [
        curves(
            "Cost against budget",
            "Dollars spent, at the end, and allowed.",
            [(COST, "spent"), (one("cost_forecast_usd"), "forecast"), (one("budget_usd"), "budget")],
            USD,
        ),
        bars(
            "Where the time went",
            "Seconds since the job was made. Training: the rest, with checkpoints and evaluation in it.",
            [(f"clamp_min({ELAPSED} - sum({BADPUT}), 0)", "training"), (f"sort_desc({BADPUT} > 0)", "{{reason}}")],
            SECONDS,
            width=6,
        ),
        bars(
            "Where the dollars went",
            "Trained: the rest. Idle ones (devices that did nothing) are not taken off it.",
            [
                (f"clamp_min({COST} - sum({LOST}), 0)", "trained"),
                (f"sort_desc({LOST})", "{{reason}}"),
                (one("idle_cost_usd_total"), "idle"),
            ],
            USD,
            width=6,
        ),
    ]
    training = [
        curves("Progress", "Share of all steps.", [(one("progress_ratio"), "progress")], RATIO, width=8, most=1),
        curves(
            "Loss",
            "As the program reports it; mean of its pods.",
            [(f"avg(paceline_trainer_loss{{{PODS}}})", "loss")],
            COUNT,
            width=8,
        ),
        curves(
            "Throughput",
            "Samples (and tokens) a second, of all processes.",
            [
                (f"max(rate(paceline_job_samples_total{{{HERE}}}[$__rate_interval]))", "samples"),
                (f"max(rate(paceline_job_tokens_total{{{HERE}}}[$__rate_interval]))", "tokens"),
            ],
            EACH_SECOND,
            width=8,
        ),
        curves(
            "Time of a step, by part",
            "Seconds, mean of the pods: waiting for data, computing, communicating.",
            [(f"avg by (part) (paceline_trainer_step_seconds{{{PODS}}})", "{{part}}")],
            SECONDS,
            width=8,
            stacked=True,
        ),
        curves(
            "Time of a step",
            "Seconds: half of the steps are faster, and all but one in twenty.",
            [
                (quantile(0.5, "paceline_job_step_seconds"), "50 %"),
                (quantile(0.95, "paceline_job_step_seconds"), "95 %"),
            ],
            SECONDS,
            width=8,
        ),
        curves(
            "Memory of the processes",
            "Bytes, by pod.",
            [(f"max by (pod) (paceline_trainer_memory_bytes{{{PODS}}})", "{{pod}}")],
            BYTES,
            width=8,
        ),
    ]
    devices = [
        curves(
            "Utilization",
            "Share of the devices' time in which they compute, and of the FLOPs that they could do (MFU).",
            [(one("gpu_utilization_ratio"), "utilization"), (one("mfu_ratio"), "MFU")],
            RATIO,
            most=1,
        ),
        curves(
            "Device time",
            "Devices that are reserved, and how many of them compute.",
            [
                (f"max by (state) (rate(paceline_job_gpu_seconds_total{{{HERE}}}[$__rate_interval]))", "{{state}}"),
            ],
            COUNT,
        ),
    ]
    survival = [
        bars(
            "Restarts",
            "By what was restarted; infrastructure: for causes that are not the job's own.",
            [(f"sort_desc(max by (reason) (paceline_job_restarts_total{{{HERE}}}))", "{{reason}}")],
            "none",
            width=6,
            steps=((None, "green"), (1, "orange")),
        ),
        curves("World size", "Workers that run.", [(one("world_size"), "workers")], "none", width=6),
        curves(
            "Age of the newest checkpoint",
            "Seconds of training that a failure would take back now.",
            [(one("checkpoint_age_seconds"), "age")],
            SECONDS,
            width=6,
        ),
        bars(
            "Checkpoints",
            "Seconds of the last one, by what was done.",
            [
                (f"max by (op) (paceline_job_checkpoint_seconds{{{HERE}}})", "{{op}}"),
                (one("queue_wait_seconds"), "queued for nodes"),
            ],
            SECONDS,
            width=6,
        ),
    ]
    variables = [
        choice("namespace", "Namespace", "label_values(paceline_job_info, namespace)"),
        choice("job", "Job", 'label_values(paceline_job_info{namespace="$namespace"}, job)'),
    ]
    return board(
        "paceline-job",
        "Job",
        "What one job costs, where its time goes, how far it is.",
        variables,
        {
            "Now": first,
            "Money and time": money,
            "Training": training,
            "Devices": devices,
            "Failures and saves": survival,
        },
        since="now-6h",
    )

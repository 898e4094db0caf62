"""What the operator keeps in memory: bytes by tracemalloc, which are the same on every machine."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

from paceline.api.trainingjob import TrainingJob
from paceline.controller.job_metrics import JobMetrics
from tests.figures import NOW, full_job
from tests.kube import ROOT, job

JOBS = 200


def test_a_job_is_kept_in_five_kilobytes():
    made = job("job", "default", nodes=8)
    made["metadata"] |= {"uid": "a-uid", "creationTimestamp": "2026-11-30T00:00:00Z"}
    TrainingJob.parse(made)  # what pydantic builds once
    tracemalloc.start()
    try:
        kept = [TrainingJob.parse(made) for _ in range(JOBS)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(kept) < 5000, "without status"


def test_a_scrape_takes_three_hundred_bytes_a_series_and_keeps_two_kilobytes_a_job():
    one = full_job()
    jobs = [
        one.model_copy(update={"metadata": one.metadata.model_copy(update={"uid": f"uid-{number}"})})
        for number in range(JOBS)
    ]
    lines = JobMetrics(lambda: jobs, lambda: NOW, 3600).page().count(b"\n")  # and what is made once
    metrics = JobMetrics(lambda: jobs, lambda: NOW, 3600)
    tracemalloc.start()
    try:
        metrics.page()
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / JOBS < 2000
    assert (most - kept) / lines < 300


def test_the_operator_loads_no_kubernetes_package_and_the_command_line_still_can():
    program = (
        "import sys, paceline.shell.operator; assert 'kubernetes' not in sys.modules; "
        "import paceline.cli.cluster; assert sys.modules['kubernetes']"
    )
    path = {"PYTHONPATH": str(ROOT / "operator")}
    subprocess.run([sys.executable, "-c", program], check=True, env=path)

"""`paceline advise --from-runs`: two jobs of different sizes report how fast they are, and the advice scales as they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.test_operator import Reporter, token
from tests.kube import ROOT, Json, apply, get, job, kubectl, pods, status, wait, wait_phase

BOOK = """InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,asOf,source
h8,H100,8,32,8,2026-01-02,list
"""


def trained(name: str, namespace: str, nodes: int) -> Json:
    return job(name, namespace, nodes=nodes, resources={"limits": {"nvidia.com/gpu": 8}})


def advise(folder: Path, manifest: Json, *arguments: str) -> Json:
    (folder / "job.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "book.csv").write_text(BOOK, encoding="utf-8")
    files = ["-f", str(folder / "job.json"), "--price-book", str(folder / "book.csv"), "--on", "H100", "-o", "json"]
    command = [sys.executable, "-m", "paceline", "advise", *files, "--samples", "3600000", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    found: Json = json.loads(done.stdout)
    return found


def test_two_sizes_that_were_measured_are_how_it_scales(operator, tls, namespace, tmp_path):
    reporter = Reporter(operator, tls, namespace)
    for name, nodes, speed in (("single", 1, 160), ("double", 2, 240)):
        apply(trained(name, namespace, nodes))
        wait_phase(name, namespace, "Running")
        uid = get("tj", name, namespace)["metadata"]["uid"]
        metrics = [{"name": "current_step", "value": "5"}, {"name": "samples_per_second", "value": str(speed)}]
        bearer = token(pods(name, namespace)[0], namespace, f"paceline.dev/job/{uid}")
        assert reporter.post(name, bearer, {"trainerStatus": {"progressPercentage": 50, "metrics": metrics}})[0] == 200
        wait("the speed", lambda n=name: "samplesPerSecond" in status(n, namespace).get("progress", {}))
        kubectl("annotate", "pods", "-n", namespace, "-l", f"paceline.dev/job-name={name},paceline.dev/role=worker",
                "kwok.paceline.dev/complete-after=0s")  # fmt: skip
        wait_phase(name, namespace, "Succeeded")
    asked = trained("next", namespace, 2)
    for runs in (["--from-runs"], ["--from", "tj/single", "--from", "double"]):
        told = advise(tmp_path, asked, "-n", namespace, *runs)
        jobs = ["tj/double", "tj/single"]
        assert told["figures"]["samplesPerSecondOfADevice"] == {
            "value": 20.0,
            "basis": "measured",
            "jobs": ["tj/single"],
        }
        assert told["figures"]["scaling"] == {"value": "1:1,2:0.75", "basis": "measured", "jobs": jobs}
        hours = {row["purchase"]: row["hours"] for row in told["options"]}
        assert hours["on-demand"] == round(3600000 / 240 / 3600, 4), "as long as the one of that size would take"
    # Nobody has measured what a gang is that its user resizes now: the report is of one machine.
    apply(trained("grown", namespace, 1))
    wait_phase("grown", namespace, "Running")
    bearer = token(
        pods("grown", namespace)[0], namespace, f"paceline.dev/job/{get('tj', 'grown', namespace)['metadata']['uid']}"
    )
    metrics = [{"name": "samples_per_second", "value": "160"}]
    assert reporter.post("grown", bearer, {"trainerStatus": {"progressPercentage": 50, "metrics": metrics}})[0] == 200
    wait("the speed", lambda: "samplesPerSecond" in status("grown", namespace).get("progress", {}))
    kubectl("scale", "tj/grown", "-n", namespace, "--replicas=2")
    wait("it has two", lambda: status("grown", namespace)["nodes"]["summary"] == "2/2")
    told = advise(tmp_path, asked, "-n", namespace, "--from", "grown", "--throughput", "10")
    assert "No throughput is taken from: tj/grown (no speed of its present size)." in told["basis"]
    other = asked | {"spec": asked["spec"] | {"command": ["torchrun", "another.py"]}}
    told = advise(tmp_path, other, "-n", namespace, "--from-runs", "--throughput", "10")
    assert told["figures"]["scaling"]["basis"] == "assumed"

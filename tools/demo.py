"""`make demo`: from nothing to a model trained on a real two-node cluster and compressed, live, with the time of every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devcluster.paths import PROJECT, STATE

EXAMPLE = PROJECT / "examples/01-image-classification.yaml"
COMPRESSION = PROJECT / "examples/16-compression.yaml"
JOB, SMALL = "digits", "digits-small"
NAMESPACE = "paceline-demo"
# USD an hour, of a machine that the demo makes itself: as a g5.xlarge on demand. Of the user's own cluster the price book counts.
PRICE = "1.006"
TIMES: list[tuple[str, float]] = []


@contextmanager
def timed(what: str) -> Iterator[None]:
    print(f"\n== {what}", flush=True)
    began = time.monotonic()
    yield
    TIMES.append((what, time.monotonic() - began))


def devcluster(*arguments: str) -> str:
    """Its standard output; what it says on the way goes to the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "devcluster", *arguments], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        sys.exit(
            f"\nthe demo stopped at: devcluster {' '.join(arguments)}\nrun it again when that is mended: it goes on from there"
        )
    return done.stdout


def on_cluster(*command: str) -> str:
    return devcluster("exec", "--", *command)


def show(*command: str) -> int:
    """Runs a command on the cluster with the terminal as its own."""
    return subprocess.run([sys.executable, "-m", "devcluster", "exec", "--", *command], check=False).returncode


def kubectl(*arguments: str) -> str:
    return on_cluster("kubectl", "-n", NAMESPACE, *arguments)


def main() -> None:
    with timed("cluster: two nodes"):
        devcluster("up")
    with timed("images: build, and bring to the nodes"):
        refs = [devcluster("build-image", name).strip().splitlines()[-1] for name in ("operator", "trainer")]
        devcluster("load-image", *refs)
    with timed("operator: install by Helm"):
        on_cluster(sys.executable, "-m", "tools.install")
    with timed("training: kubectl apply -f examples/01-image-classification.yaml"):
        _fresh_namespace()
        if os.environ.get("CLUSTER", "embedded") != "current":
            on_cluster("kubectl", "annotate", "nodes", "--all", "--overwrite", f"paceline.dev/price-per-hour={PRICE}")
        kubectl("apply", "-f", str(EXAMPLE))
        code = show(sys.executable, "-m", "paceline", "watch", JOB, "-n", NAMESPACE)
    _tell()
    if code == 0:
        with timed("compression: kubectl apply -f examples/16-compression.yaml"):
            kubectl("apply", "-f", str(COMPRESSION))
            code = _watch_compression()
        show(sys.executable, "-m", "paceline", "report", SMALL, "-n", NAMESPACE)
    _tell_times()
    sys.exit(code)


def _watch_compression() -> int:
    """Until it ends, a line for everything new; 0 where the model was accepted."""
    said = ""
    while True:
        status = json.loads(kubectl("get", "compressionjob", SMALL, "-o", "json")).get("status", {})
        percent = (status.get("progress") or {}).get("percent", "0")
        words = f"{status.get('phase', 'Pending')}: {status.get('message', '')}"
        if words != said:
            said = words
            print(f"  {percent:>5} %  {words}", flush=True)
        if status.get("phase") in ("Succeeded", "Failed"):
            return 0 if status["phase"] == "Succeeded" else 1
        time.sleep(2)


def _fresh_namespace() -> None:
    """A second demo starts as the first did; the user's other namespaces are not touched."""
    for kind, name in (("compressionjob", SMALL), ("trainingjob", JOB)):
        kubectl("delete", kind, name, "--ignore-not-found", "--wait=true")
    on_cluster("sh", "-c", f"kubectl create namespace {NAMESPACE} --dry-run=client -o yaml | kubectl apply -f -")


def _tell() -> None:
    status = json.loads(kubectl("get", "tj", JOB, "-o", "json")).get("status", {})
    print("\n== result")
    workers = f"paceline.dev/job-name={JOB},paceline.dev/role=worker"  # the store goes when the job has ended
    for pod in json.loads(kubectl("get", "pods", "-l", workers, "-o", "json"))["items"]:
        log = kubectl("logs", pod["metadata"]["name"], "-c", "trainer")
        if "accuracy" in log:  # only the process of rank 0 evaluates aloud
            print(log[log.index("accuracy") :].rstrip())
    model = status.get("model", {})
    if model:
        claim = json.loads(kubectl("get", "pvc", "models", "-o", "json"))["spec"].get("volumeName", "")
        folder = STATE / "volumes" / claim / "digits"
        where = folder if folder.exists() else f"claim models, {model.get('path')}"
        print(f"\nthe model, its manifest and report: {where}")
    _tell_costs(status)


def _tell_times() -> None:
    print("\nstep                                                              seconds")
    for what, seconds in TIMES:
        print(f"{what:64} {seconds:8.1f}")
    print(f"\nlook further:\n  {_prefix()}kubectl -n {NAMESPACE} get tj,cpj -o wide")
    print(f"  {_prefix()}kubectl -n {NAMESPACE} describe tj {JOB}")
    print(f"  {_prefix()}{sys.executable} -m paceline report {SMALL} -n {NAMESPACE} --html report.html")
    print(f"  {_prefix()}kubectl -n paceline-system logs -l app.kubernetes.io/name=paceline")
    print("take it down again:  make cluster-down")


def _tell_costs(status: dict[str, Any]) -> None:
    cost, goodput = status.get("cost", {}), status.get("goodput", {})
    if "accruedUSD" not in cost:
        print("\nthe job's nodes have no price: docs/cost.md says how to give them one")
        return
    print(f"\nit cost {cost['accruedUSD']} USD ({cost['priceSource']}), goodput {goodput.get('ratio', 'unknown')}")
    for part, seconds in goodput["seconds"].items():
        print(f"  {part:12} {seconds:>8} s {goodput['usd'].get(part, '0'):>10} USD")


def _prefix() -> str:
    return "" if os.environ.get("CLUSTER", "embedded") != "embedded" else ".venv/bin/python -m devcluster exec -- "


if __name__ == "__main__":
    main()

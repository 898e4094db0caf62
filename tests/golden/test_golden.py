"""What is rendered, against committed YAML. UPDATE_GOLDEN=1 writes the files; review them as code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from paceline.api.crd import CRDS
from paceline.api.trainingjob import TrainingJob
from paceline.plan.sizes import nnodes
from paceline.render import guards, pods
from paceline.render.pods import Installation

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OPERATOR = Installation("paceline-trainer:1", "https://paceline-progress.paceline-system.svc:8443", "-----CA-----\n")

MINIMAL = {"image": "torch:1", "command": ["torchrun", "/src/train.py"]}
FULL = {
    "image": "torch:1",
    "command": ["torchrun", "/src/train.py", "--epochs", "3"],
    "nodes": 4,
    "processesPerNode": 8,
    "resources": {"limits": {"nvidia.com/gpu": 8, "cpu": "64", "memory": "512Gi"}},
    "sharedMemory": "8Gi",
    "network": {"profile": "tcp", "interface": "ens5", "env": {"NCCL_DEBUG": "WARN"}},
    "elastic": {"minNodes": 2, "maxNodes": 8},
    "restarts": {"inPlace": 1},
    "checkpoint": {
        "volume": {"persistentVolumeClaim": {"claimName": "ckpt"}},
        "everySteps": 500,
        "gracePeriodSeconds": 120,
    },
    "rendezvous": {"lastCallSeconds": 5, "joinTimeoutSeconds": 900, "conf": {"use_libuv": "0"}},
    "template": {
        "metadata": {"labels": {"team": "ml", "paceline.dev/role": "impostor"}, "annotations": {"note": "1"}},
        "spec": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "containers": [
                {
                    "name": "trainer",
                    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
                {"name": "sidecar", "image": "sidecar:1"},
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    },
}
RECIPE = {
    "recipe": {"name": "image-classification", "params": {"epochs": 3}},
    "progress": {"enabled": False},
    "sharedMemory": 0,
}

SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
STORE = {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "ports": [{"protocol": "TCP", "port": 443}]}
OPEN = json.dumps(
    {"operator": {"app.kubernetes.io/name": "paceline"}, "metricsFrom": [SCRAPER], "extraEgress": [STORE]}
)


def job(spec):
    meta = {"name": "job", "namespace": "default", "uid": "uid-1", "creationTimestamp": "2026-11-23T10:00:00Z"}
    return TrainingJob.parse({"metadata": meta, "spec": spec})


@pytest.mark.parametrize(("name", "spec"), [("minimal", MINIMAL), ("full", FULL), ("recipe", RECIPE)])
def test_children(name, spec):
    made = job(spec)
    worker = pods.worker(
        made, OPERATOR, attempt=2, index=1, replacement=3, nnodes=nnodes(made.spec, made.spec.nodes), avoid=["n7"]
    )
    check(f"{name}.yaml", [worker, pods.rendezvous(made, OPERATOR), pods.service(made)])


@pytest.mark.parametrize(("name", "given"), [("closed", "{}"), ("open", OPEN)])
def test_network_policy(name, given):
    fence = guards.fence(given, "paceline-system", 8443)
    check(f"network-policy-{name}.yaml", [guards.network_policy(job(MINIMAL), fence)])


@pytest.mark.parametrize(("name", "spec"), [("fixed", MINIMAL | {"nodes": 4}), ("elastic", FULL)])
def test_disruption_budget(name, spec):
    check(f"disruption-budget-{name}.yaml", [guards.disruption_budget(job(spec))])


@pytest.mark.parametrize("plural", CRDS)
def test_the_committed_crd_is_the_generated_one(plural):
    committed = (ROOT / f"crds/paceline.dev_{plural}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(committed) == CRDS[plural](), "run `make crds` and commit the result"


@pytest.mark.parametrize("plural", CRDS)
def test_every_field_of_the_crd_is_described_and_bounded(plural):
    version = CRDS[plural]()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    wrong = [*flaws(version["spec"], "spec"), *flaws(version["status"], "status")]
    assert wrong == []


def flaws(schema, path):
    """Fields without a description, and lists without a limit."""
    if "description" not in schema:
        yield f"{path}: no description"
    if schema.get("type") == "array" and "maxItems" not in schema and path.startswith("spec"):
        yield f"{path}: no maxItems"
    for name, child in schema.get("properties", {}).items():
        yield from flaws(child, f"{path}.{name}")


def check(name, documents):
    file = HERE / name
    text = yaml.safe_dump_all(documents, sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text, f"{name} differs: if that is meant, UPDATE_GOLDEN=1 make golden"

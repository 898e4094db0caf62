"""`paceline report` and `paceline methods`: what a user of a terminal reads, saves and is told."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from kubernetes.client.exceptions import ApiException
from typer.testing import CliRunner

from paceline.cli import main
from paceline.cli.cluster import Cluster
from paceline.cli.main import app
from paceline.render.compression_report import html, markdown
from tests.compressed import (
    COST,
    QUANTIZED,
    REPORT,
    SERVING,
    compression,
    compression_object,
    full_status,
    report,
    stage,
)

PATH = "/apis/paceline.dev/v1alpha1/namespaces/ml/compressionjobs/"
JOBS = {
    "small": compression_object(full_status()),
    "new": compression_object({"phase": "Running", "stage": "distil", "trial": 1, "message": "waits for the source"}, "new"),
    "slow": compression_object(
        full_status(
            report=report(
                stages=[stage(QUANTIZED, speedup="0.813", latencyP50="13.422", gates=[])],
                serving={k: v for k, v in SERVING.items() if not k.startswith("break")} | {"usdPerMillionAfter": "7.2"},
            ),
            cost={},
        ),
        "slow",
        gates=[],
        onGateFail="Stop",
    ),
    "other": {"metadata": {"name": "other", "namespace": "ml"}, "spec": {}},
}  # fmt: skip


class Api(BaseHTTPRequestHandler):
    """The namespace ml, and its CompressionJobs."""

    def do_GET(self):
        missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"}
        if self.path == "/api/v1/namespaces/ml":
            found = {"kind": "Namespace", "metadata": {"name": "ml"}}
        else:
            assert self.path.startswith(PATH), self.path
            found = JOBS.get(self.path.removeprefix(PATH))
        body = json.dumps(found or missing).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.fixture
def paceline(server, tmp_path, monkeypatch):
    named = {"clusters": ("cluster", {"server": server}), "users": ("user", {"token": "t"})}
    named["contexts"] = ("context", {"cluster": "here", "user": "here", "namespace": "ml"})
    content = {kind: [{"name": "here", key: value}] for kind, (key, value) in named.items()}
    config = tmp_path / "config"
    config.write_text(yaml.safe_dump({"current-context": "here", **content}), encoding="utf-8")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    return lambda *arguments: CliRunner().invoke(app, ["report", *map(str, arguments)])


def lines(done):
    assert done.exit_code == 0, done.output
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["small", "cpj/small", "cj/small", "compressionjob/small"])
def test_the_verdict_is_first_then_the_tables_then_what_they_hold_for(paceline, name):
    found = lines(paceline(name))
    assert found[0].startswith(
        "Accepted: int8 is 5.145 times smaller; 4.710 times as fast as the source in the same runtime;"
    )
    assert found[1] == "all gates were met in trial 2"
    assert found[3] == "STAGE METHOD TARGET SIZE RATIO P50 SPREAD P95 SPEEDUP SCORE GATES COST"
    assert found[6] == (
        "int8 (taken) quantize.dynamic - 17.7 MB 5.145:1 2.317 ms 0.118 ms 2.544 ms 4.710× 0.9025 ± 0.0101 (-0.0081, within the "
        "error) 3 of 3 passed $0.0118"
    )
    assert "int8 accuracy maxDrop 0.01, relative 0.0089 passed" in found
    assert "1 distil: layers 2 int8 14.2 MB 1.702 ms 0.8773 accuracy maxDrop 0.01" in found
    assert "Paid for after, requests - 194712" in found
    assert "Training the source cost $12.5082" in found
    assert "Measured with: device cpu, AMD EPYC 9R14, threads 1, batch 1, torch 2.15.0, onnxruntime 1.32.1." in found
    assert any(line.startswith("Gains hold for these settings only") for line in found)
    assert not any(line.startswith("Unknown:") for line in found), found[-1]


def test_what_is_slower_unpriced_and_never_paid_for_is_called_so(paceline):
    found = lines(paceline("cpj/slow", "-n", "ml"))
    assert "0.813× (slower)" in found[5]
    assert "Paid for after, requests - never: serving it saves nothing" in found
    assert "Compressing cost (every stage, trial and recovery) unknown" in found
    assert found[-1].startswith("Unknown: No gates were set: nothing was asked of the result")


def test_a_narrow_terminal_cuts_no_figures_off(paceline, monkeypatch):
    wide = lines(paceline("small"))
    monkeypatch.setenv("COLUMNS", "40")
    assert lines(paceline("small")) == wide


def test_pages_are_saved_as_they_are_rendered(paceline, tmp_path):
    done = paceline("small", "--html", tmp_path / "a.html", "--markdown", tmp_path / "a.md")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [f"wrote {tmp_path / 'a.html'}", f"wrote {tmp_path / 'a.md'}"]
    job = compression(full_status())
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == html(job)
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == markdown(job)


def test_programs_get_the_report_as_the_status_has_it(paceline):
    told = json.loads(paceline("small", "--json").stdout)
    assert told["report"]["serving"] == SERVING
    assert told["report"]["stages"][1].items() >= QUANTIZED.items()
    assert told["report"]["environment"] == REPORT["environment"]
    assert (told["cost"]["accruedUSD"], told["verdict"], told["unknown"]) == (COST["accruedUSD"], "Accepted", [])
    assert told["source"] == {"trainingJobRef": {"name": "sentiment"}}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nope"], "there is no CompressionJob nope in ml: kubectl get cj -n ml lists them"),
        (["tj/small"], "tj/small: reports are of CompressionJobs; give NAME, cpj/NAME or compressionjob/NAME"),
        (
            ["new"],
            "ml/new has measured nothing yet. No verdict yet: Running in stage distil of trial 1. waits for the source "
            "(kubectl describe cj new -n ml)",
        ),
        (["other"], "other is of another version of the CRD, and cannot be read"),
        (["small", "--html", "/nowhere/a.html"], "/nowhere/a.html: No such file or directory: give a file in a folder"),
        (["small", "--context", "nope"], "--context nope: there is none of that name; there are: here"),
    ],
)
def test_mistakes_name_the_cause_and_the_cure(paceline, arguments, why):
    done = paceline(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            ApiException(status=404),
            r"has no CompressionJobs \(compressionjobs.paceline.dev\): install Paceline's chart first",
        ),
        (
            ApiException(status=403),
            r"not allowed to get CompressionJobs in ml: .*can-i get compressionjobs.paceline.dev -n ml\)",
        ),
        (ApiException(status=401), "log in again"),
    ],
)
def test_what_the_api_server_refuses_is_explained(error, why):
    class Refusing:
        def get_namespaced_custom_object(self, *_, **__):
            raise error

    with pytest.raises(Exception, match=why):
        Cluster("ml", "https://c", Refusing(), None).compression("small")


def test_methods_are_listed_and_explained(monkeypatch):
    schema = {
        "description": "channels that matter least go",
        "properties": {"roundTo": {"type": "integer", "minimum": 1, "default": 8, "description": "multiple of"}},
    }
    monkeypatch.setattr(main, "catalogue", lambda of: {"prune.structured": schema} if of == "methods" else {})
    run = CliRunner().invoke
    assert re.fullmatch(r"prune\.structured +channels that matter least go\n", run(app, ["methods"]).output)
    assert "multiple of (integer from 1, default 8)" in run(app, ["methods", "prune.structured"]).output
    unknown = run(app, ["methods", "nope"])
    assert (unknown.exit_code, unknown.output) == (2, "there is no method 'nope'; there are: prune.structured\n")


def test_the_catalogue_of_methods_can_be_read():
    assert CliRunner().invoke(app, ["methods"]).exit_code == 0

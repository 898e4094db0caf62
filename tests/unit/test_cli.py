"""The command line, as far as it needs no cluster."""

from __future__ import annotations

import io

import yaml
from rich.console import Console
from typer.testing import CliRunner

from paceline.cli.main import app
from paceline.cli.watch import line, view

JOB = {
    "metadata": {"name": "digits"},
    "status": {
        "phase": "Running",
        "message": "2 of 2 workers run",
        "nodes": {"summary": "2/2"},
        "progress": {"percent": "41.5", "eta": "1m30s", "metrics": [{"name": "loss", "value": "0.25"}]},
    },
}


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_help_names_every_command():
    said = run("--help").output
    for command in ("operator", "crds", "recipes", "methods", "watch", "cost", "advise", "report", "version"):
        assert command in said


def test_crds_are_yaml():
    named = [each["metadata"]["name"] for each in yaml.safe_load_all(run("crds").output)]
    assert named == ["trainingjobs.paceline.dev", "compressionjobs.paceline.dev"]
    assert yaml.safe_load(run("crds", "compressionjobs").output)["spec"]["names"]["shortNames"] == ["cpj"]
    assert run("crds", "pods").exit_code == 2


def test_recipes_are_listed_and_explained():
    assert "image-classification" in run("recipes").output
    assert "epochs" in run("recipes", "image-classification").output
    unknown = run("recipes", "nope")
    assert unknown.exit_code == 2
    assert "image-classification" in unknown.output


def test_a_job_in_one_line_and_as_a_view():
    assert line(JOB) == "digits: Running     nodes 2/2  41.5 %  eta 1m30s  loss 0.25  2 of 2 workers run"
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(view(JOB, []))
    shown = console.export_text()
    assert "tj/digits" in shown
    assert "41.5 %" in shown
    assert line({"metadata": {"name": "new"}}) == "new: Pending     nodes -  "

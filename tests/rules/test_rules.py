"""The alerts and recording rules of the chart, by promtool: each fires when it should and is silent when it should be."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from devcluster import packages
from tests.kube import ROOT

RULES = sorted((ROOT / "charts/paceline/files/rules").glob("*.yaml"))
TESTS = sorted((ROOT / "tests/rules").glob("*.test.yaml"))


def of(kind):
    """{name: rules file} of all rules of a kind: alert or record."""
    return {
        rule[kind]: file
        for file in RULES
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    }


ALERTS, RECORDS = of("alert"), of("record")


@pytest.fixture(scope="module", autouse=True)
def promtool_is_there() -> None:
    packages.install({"promtool": "prometheus"})


def promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_prometheus_takes_the_rules():
    code, said = promtool("check", "rules", *RULES)
    assert code == 0, said


@pytest.mark.parametrize("file", TESTS, ids=lambda f: f.name)
def test_what_fires_and_what_is_recorded(file):
    code, said = promtool("test", "rules", file)
    assert code == 0, said


def cases(what):
    return [
        case
        for file in TESTS
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for case in test.get(what, [])
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(alert):
    fires = [bool(case["exp_alerts"]) for case in cases("alert_rule_test") if case["alertname"] == alert]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("record", RECORDS)
def test_a_recording_rule_has_a_case(record):
    assert [case for case in cases("promql_expr_test") if case["expr"] == record and case["exp_samples"]]


@pytest.mark.parametrize("name", [*ALERTS, *RECORDS])
@pytest.mark.parametrize("broken", ["vector(1) > 2", "vector(1)"], ids=["never", "always"])
def test_the_cases_notice_a_rule_that_is_broken(tmp_path, name, broken):
    file = ALERTS.get(name) or RECORDS[name]
    rules = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if name in (rule.get("alert"), rule.get("record")):
                rule["expr"] = broken
    (tmp_path / file.name).write_text(yaml.safe_dump(rules), encoding="utf-8")
    tests = yaml.safe_load((ROOT / f"tests/rules/{file.stem}.test.yaml").read_text(encoding="utf-8"))
    (tmp_path / "broken.test.yaml").write_text(yaml.safe_dump(tests | {"rule_files": [file.name]}), encoding="utf-8")
    code, said = promtool("test", "rules", tmp_path / "broken.test.yaml")
    assert code == 1, said
    assert name in said


def test_every_alert_says_how_grave_it_is_and_what_to_do():
    docs = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
    for name, file in ALERTS.items():
        groups = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        rule = next(rule for group in groups for rule in group["rules"] if rule.get("alert") == name)
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["annotations"]["description"].endswith("See docs/alerts.md."), name
        assert f"### {name}\n" in docs, name

"""What the chart brings for Prometheus and Grafana: the rules and dashboards as tested elsewhere, and what values change."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from devcluster import packages
from tests.kube import ROOT, kubectl

CHART = ROOT / "charts/paceline"
RULES = [
    group
    for file in sorted((CHART / "files/rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
]


def helm(*values):
    """(exit code, objects by kind, what helm says)."""
    command = ["helm", "template", "t", str(CHART), *(part for value in values for part in ("--set", value))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, list] = {}
    for each in yaml.safe_load_all(done.stdout):
        if each:
            found.setdefault(each["kind"], []).append(each)
    return done.returncode, found, done.stderr


def rules(*values):
    code, found, said = helm("monitoring.prometheusRule.enabled=true", *values)
    assert code == 0, said
    return found["PrometheusRule"][0]


def by_alert(rule):
    return {r["alert"]: r for group in rule["spec"]["groups"] for r in group["rules"] if "alert" in r}


def test_nothing_of_it_unless_asked_for():
    _, found, _ = helm()
    assert "PrometheusRule" not in found
    assert not [c for c in found["ConfigMap"] if "dashboard" in c["metadata"]["name"]]


def test_the_rules_are_those_that_promtool_tests():
    found = rules("monitoring.prometheusRule.labels.release=prometheus")
    assert found["spec"]["groups"] == RULES
    assert found["metadata"]["labels"]["release"] == "prometheus"


def test_an_alert_is_changed_by_its_name_or_left_out(tmp_path):
    packages.install({"promtool": "prometheus"})
    at = "monitoring.prometheusRule"
    low = f"{at}.overrides.PacelineLowGoodput"
    found = rules(
        f"{low}.for=1h", f"{low}.labels.severity=info", f"{at}.disabledAlerts={{PacelineNoProgress,PacelineIdleGPUs}}"
    )
    before, after = by_alert({"spec": {"groups": RULES}}), by_alert(found)
    changed = before["PacelineLowGoodput"] | {"for": "1h", "labels": {"severity": "info"}}
    left_out = ("PacelineNoProgress", "PacelineIdleGPUs")
    assert after == {n: r for n, r in before.items() if n not in left_out} | {"PacelineLowGoodput": changed}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(found["spec"]), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("value", ["overrides.PacelineLow.for=1h", "disabledAlerts={PacelineLow}"])
def test_an_alert_that_does_not_exist_is_named(value):
    code, _, said = helm("monitoring.prometheusRule.enabled=true", f"monitoring.prometheusRule.{value}")
    assert code != 0
    assert "there is no alert PacelineLow" in said


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds(namespace):
    at = "monitoring.dashboards"
    code, found, said = helm(f"{at}.enabled=true", f"{at}.labels.team=ml", f"{at}.annotations.grafana_folder=Paceline")
    assert code == 0, said
    maps = [c for c in found["ConfigMap"] if "dashboard" in c["metadata"]["name"]]
    files = sorted((CHART / "files/dashboards").glob("*.json"))
    shown = {f"paceline-{file.name}": json.loads(file.read_text(encoding="utf-8")) for file in files}
    assert {name: json.loads(text) for c in maps for name, text in c["data"].items()} == shown
    for each in maps:
        labels = each["metadata"]["labels"]
        assert (labels["grafana_dashboard"], labels["team"]) == ("1", "ml")
        assert each["metadata"]["annotations"] == {"grafana_folder": "Paceline"}
        kubectl("apply", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(each))

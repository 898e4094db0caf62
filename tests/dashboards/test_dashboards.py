"""The chart's dashboards against Grafana's types and Prometheus' parser; tests/e2e/test_prometheus.py runs their queries."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from devcluster import packages
from tests.kube import ROOT
from tools.dashboards.reading import FOLDER, load, panels, queries

BOARDS = {file.stem: load(file) for file in sorted(FOLDER.glob("*.json"))}
VARIABLES = {"namespace": "ml", "job": "j", "__range": "1h", "__range_s": "3600", "__rate_interval": "1m"}


@pytest.fixture(scope="session")
def validate(tmp_path_factory):
    """The program that reads a dashboard by Grafana's Go types, built now: (exit code, what it says)."""
    program = tmp_path_factory.mktemp("bin") / "validate"
    source = ROOT / "tools/dashboards/validate"
    subprocess.run(["go", "build", "-buildvcs=false", "-o", program, "."], cwd=source, check=True)

    def run(*files):
        done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_knows_every_field(validate, name):
    assert validate(FOLDER / f"{name}.json") == (0, "")


def curve(board):
    return next(panel for panel in board["panels"] if panel["type"] == "timeseries")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda b: b.update(colour="red"), "unexpected field 'colour'"),
        (lambda b: b.update(tags="paceline"), "tags: json: cannot unmarshal string"),
        (lambda b: curve(b).update(titel="Cost"), "unexpected field 'titel'"),
        (lambda b: b.update(fiscalYearStartMonth=12), "fiscalYearStartMonth: must be < 12"),
        (lambda b: curve(b)["options"].update(legends={}), "unexpected field 'legends'"),
        (lambda b: curve(b)["options"]["legend"].update(showLegend="yes"), "showLegend: json: cannot unmarshal"),
        (lambda b: curve(b)["fieldConfig"]["defaults"].update(units="s"), "unexpected field 'units'"),
        (lambda b: curve(b)["fieldConfig"]["defaults"].update(unit=1), "FieldConfig.defaults.unit of type string"),
        (lambda b: curve(b)["fieldConfig"]["defaults"]["custom"].update(lineWidth="1"), "lineWidth: json: cannot"),
        (lambda b: curve(b)["targets"][0].update(expression="up"), "unexpected field 'expression'"),
        (lambda b: curve(b)["targets"][0].pop("expr"), "expr: required field is missing"),
        (lambda b: b["templating"]["list"][0].update(multi=1), "multi: json: cannot unmarshal number"),
    ],
)
def test_a_broken_dashboard_is_noticed(validate, tmp_path, harm, words):
    board = load(FOLDER / "job.json")
    harm(board)
    (tmp_path / "broken.json").write_text(json.dumps(board), encoding="utf-8")
    code, said = validate(tmp_path / "broken.json")
    assert code == 1
    assert words in said


@pytest.mark.parametrize("name", BOARDS)
def test_prometheus_can_parse_every_query(tmp_path, name):
    packages.install({"promtool": "prometheus"})
    rules = [
        {"record": "a:b:c", "expr": q.expr, "labels": {"of": q.key}} for q in queries(name, BOARDS[name], VARIABLES)
    ]
    assert not [rule["expr"] for rule in rules if "$" in rule["expr"]], "a variable that nothing fills in"
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8"
    )
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_and_in_which_unit(name):
    for panel in panels(BOARDS[name]):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"], panel["title"]
        for target in panel["targets"]:
            assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", BOARDS)
def test_the_grid_is_full_and_nothing_overlaps(name):
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {x for x, _ in taken} == set(range(24))
    height = 1 + max(y for _, y in taken)
    assert len(taken) == 24 * height, "a gap"


def test_dashboards_are_found_by_what_never_changes():
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "compression": "paceline-compression",
        "fleet": "paceline-fleet",
        "job": "paceline-job",
        "operator": "paceline-operator",
    }
    for name, board in BOARDS.items():
        assert (board["tags"], board["timezone"]) == (["paceline"], "browser"), name
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]), name
    variables = {name: [v["name"] for v in board["templating"]["list"]] for name, board in BOARDS.items()}
    assert variables == {
        "compression": ["datasource", "namespace", "job"],
        "fleet": ["datasource", "namespace"],
        "job": ["datasource", "namespace", "job"],
        "operator": ["datasource"],
    }

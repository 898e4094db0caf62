"""Dollars and hours over a price book, by the plain formula; and `paceline advise` as a user meets it."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from paceline.cli.main import app
from paceline.cost.advise import PEAKS, Preemptions, Scaling, Work, cheapest, fastest, of_size, option, options
from paceline.cost.prices import parse

NONE, LINEAR = Preemptions(), Scaling()
BOOK = """InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,billingIncrementSeconds,asOf,source
h8,H100,8,32,8,1,2026-01-02,list
b1,B200,1,7,,3600,2026-01-03,list
x1,Abacus,1,0.01,,1,2026-01-03,list
cpu,,,0.5,,1,2026-01-03,list
"""
MACHINES = {machine.instance_type: machine for machine in parse(BOOK)}
WORK = Work(160.0, "H100")


def test_the_measured_device_takes_its_hours():
    found = option(MACHINES["h8"], "on-demand", 2, WORK, LINEAR, NONE)
    assert (found.hours, found.usd, found.devices, found.estimated) == (10.0, Decimal(640), 16, False)


def test_another_devices_speed_follows_from_the_peaks_and_hours_are_billed_in_whole_increments():
    found = option(MACHINES["b1"], "on-demand", 4, WORK, LINEAR, NONE)
    assert found.hours == pytest.approx(160 / 4 * PEAKS["H100"] / PEAKS["B200"])  # 17.58
    assert found.estimated
    assert found.usd == 4 * 7 * 18


def test_what_is_unknown_is_not_guessed():
    assert option(MACHINES["x1"], "on-demand", 1, WORK, LINEAR, NONE) is None
    assert option(MACHINES["cpu"], "on-demand", 1, WORK, LINEAR, NONE) is None
    assert option(MACHINES["h8"], "on-demand", 5, WORK, Scaling(((4, 0.8),)), NONE) is None, "beyond what was measured"
    assert {one.machine.instance_type for one in options(MACHINES.values(), [1], WORK, LINEAR, NONE)} == {"h8", "b1"}


@pytest.mark.parametrize(("machines", "share"), [(1, 1.0), (2, 0.9), (3, 0.85), (4, 0.8), (5, None)])
def test_scaling_is_a_line_between_measurements(machines, share):
    assert Scaling(((4, 0.8), (2, 0.9))).efficiency(machines) == (share and pytest.approx(share))


def test_preemptions_take_their_time_from_spot_alone():
    lossy = Preemptions(per_machine_hour=0.05, hours_lost=0.5)
    spot = option(MACHINES["h8"], "spot", 4, WORK, LINEAR, lossy)
    assert spot.hours == pytest.approx(5 / 0.9)  # 4 × 0.05 an hour, half an hour each
    assert option(MACHINES["h8"], "on-demand", 4, WORK, LINEAR, lossy).hours == 5
    assert option(MACHINES["h8"], "spot", 40, WORK, LINEAR, lossy) is None, "it would never get on"


def test_the_jobs_size_is_what_holds_its_devices():
    found = {
        (o.machine.instance_type, o.purchase): o.machines for o in of_size(MACHINES.values(), 9, WORK, LINEAR, NONE)
    }
    assert found == {("h8", "on-demand"): 2, ("h8", "spot"): 2, ("b1", "on-demand"): 9}


@given(
    st.floats(1, 1e4),
    st.lists(st.tuples(st.integers(2, 16), st.floats(0.1, 1.0)), max_size=3),
    st.floats(0.1, 1e4),
    st.integers(0, 100_000),
)
def test_the_best_is_as_good_as_any_within_the_limit(device_hours, measured, within, under):
    ways = options(MACHINES.values(), range(1, 17), Work(device_hours, "H100"), Scaling(tuple(measured)), NONE)
    assert [way.usd for way in ways] == sorted(way.usd for way in ways)
    best, in_time = cheapest(ways, within), [way for way in ways if way.hours <= within]
    assert (best is None) == (not in_time)
    assert best is None or all(round(best.usd, 2) <= round(way.usd, 2) for way in in_time)
    quick, affordable = fastest(ways, Decimal(under)), [way for way in ways if way.usd <= under]
    assert (quick is None) == (not affordable)
    assert quick is None or all(quick.hours <= way.hours for way in affordable)


@pytest.fixture
def ask(tmp_path):
    (tmp_path / "book.csv").write_text(BOOK, encoding="utf-8")
    job = {"kind": "TrainingJob", "spec": {"nodes": 2, "resources": {"limits": {"nvidia.com/gpu": 8}}}}
    (tmp_path / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    job["spec"]["nodes"] = 4
    (tmp_path / "wide.yaml").write_text(json.dumps(job), encoding="utf-8")
    (tmp_path / "cpu.yaml").write_text(json.dumps({"kind": "TrainingJob", "spec": {"nodes": 2}}), encoding="utf-8")
    for name, spec in (
        ("word", "eight"),
        ("nodes", {"nodes": "many"}),
        ("half", {"resources": {"limits": {"nvidia.com/gpu": 0.5}}}),
    ):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"kind": "TrainingJob", "spec": spec}), encoding="utf-8")
    (tmp_path / "other.yaml").write_text(json.dumps({"kind": "Pod"}), encoding="utf-8")

    def run(*arguments: str, job: str = "job.yaml", book: str = "book.csv", on: str = "H100"):
        files = ["-f", str(tmp_path / job), "--price-book", str(tmp_path / book), "--on", on]
        return CliRunner().invoke(app, ["advise", *files, *arguments])

    return run


def test_a_table_and_sentences(ask):
    said = ask("--hours", "10", "--within-hours", "5", "--under-usd", "650").output
    assert "2 × h8    16 × H100  spot        16.00   10.0  160.00  given" in said
    assert "Cheapest within 5 h: 4 × h8 (32 × H100), spot: 5.0 h, $160.00." in said
    assert "Fastest under $650" in said
    assert "Prices as of 2026-01-02 to 2026-01-03; they age." in said
    assert "Left out, as their speed beside H100 is unknown: Abacus." in said
    assert "Hours: given." in said
    assert "Several machines: assumed to scale linearly; nothing was measured or given" in said
    assert "Spot: how often it is preempted is unknown, and not counted" in said


def test_what_is_given_is_used_and_said(ask):
    said = ask(
        "--samples", "3600000", "--throughput", "100", "--scaling", "2:0.5", "--preemptions-per-hour", "0.1"
    ).output
    assert "The work is 10.0 hours of one H100." in said
    assert "Samples: given; 100 a second of one H100: given." in said
    assert "Several machines scale as given: 2:0.5." in said
    assert "Spot: 0.1 preemptions an hour of a machine, given; each takes 10.0 minutes, assumed." in said


def test_hours_are_those_of_the_jobs_own_size_however_it_scales(ask):
    said = " ".join(ask("--hours", "10", "--scaling", "2:0.5,4:0.25").output.split())
    assert "2 × h8 16 × H100 spot 16.00 10.0 160.00 given" in said
    assert "The work is 80.0 hours of one H100." in said
    beyond = ask("--hours", "10", "--scaling", "2:0.5", job="wide.yaml")
    assert (beyond.exit_code, "--hours are of 4 machines" in beyond.stderr) == (2, True)


def test_a_narrow_terminal_cuts_no_figure_off(ask, monkeypatch):
    wide = ask("--hours", "10").output
    monkeypatch.setenv("COLUMNS", "30")
    assert ask("--hours", "10").output == wide


def test_programs_get_json_and_csv(ask):
    told = json.loads(ask("--hours", "10", "-o", "json").output)
    assert told["options"][0]["usd"] == "160.00"
    assert told["options"][0]["source"] == "list"
    rows = list(csv.DictReader(io.StringIO(ask("--hours", "10", "-o", "csv").output)))
    assert [(row["machine"], row["purchase"], row["usd"]) for row in rows] == [
        ("h8", "spot", "160.00"),
        ("b1", "on-demand", "560.00"),
        ("h8", "on-demand", "640.00"),
    ]


@pytest.mark.parametrize(
    ("arguments", "more", "why"),
    [
        ([], {}, "Give --hours, or --samples with --throughput"),
        (["--hours", "1", "--samples", "9"], {}, "Give --hours, or --samples with --throughput"),
        (["--hours", "1"], {"on": "H1000"}, "--on H1000: unknown; there are: A100, "),
        (["--hours", "1"], {"job": "none.yaml"}, "-f: .*No such file"),
        (["--hours", "1"], {"job": "other.yaml"}, "there is no TrainingJob in"),
        (["--hours", "1"], {"job": "cpu.yaml"}, "spec.resources.limits has no nvidia.com/gpu or amd.com/gpu"),
        (["--hours", "1"], {"job": "word.yaml"}, "-f: spec: Input should be"),
        (["--hours", "1"], {"job": "nodes.yaml"}, "-f: spec.nodes: Input should be a valid integer"),
        (["--hours", "1"], {"job": "half.yaml"}, "-f: spec.resources.limits.nvidia.com/gpu"),
        (["--hours", "nan"], {}, "Invalid value for '--hours'"),
        (["--hours", "inf"], {}, "--hours, --samples and --throughput must be finite and above 0"),
        (["--hours", "0"], {}, "--hours, --samples and --throughput must be finite and above 0"),
        (["--hours", "1", "--scaling", "2:nan"], {}, "shares are above 0 and at most 1"),
        (
            ["--hours", "1", "--preemptions-per-hour", "inf"],
            {},
            "--preemptions-per-hour and --lost-minutes must be finite",
        ),
        (["--hours", "1", "--under-usd", "nan"], {}, "Invalid value for '--under-usd'"),
        (["--hours", "1"], {"book": "none.csv"}, "--price-book: .*No such file"),
        (["--hours", "1"], {"book": "job.yaml"}, "--price-book: the price book"),
        (["--hours", "1", "--scaling", "2"], {}, "--scaling 2: must be like 2:0.97"),
        (["--hours", "1", "--scaling", "2:1.5"], {}, "shares are above 0 and at most 1"),
        (["--hours", "1"], {"on": "Abacus"}, None),
    ],
)
def test_mistakes_name_the_option_and_the_cure(ask, arguments, more, why):
    done = ask(*arguments, **more)
    if why is None:
        assert done.exit_code == 0, "a device that is in the book needs no peak to be compared with itself"
        return
    assert done.exit_code == 2
    assert re.search(why, done.stderr), done.stderr

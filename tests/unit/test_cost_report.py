"""`paceline cost`: lines and sums from jobs as the API server has them, and what a user reads."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException
from typer.testing import CliRunner

from paceline.api.trainingjob import TrainingJob
from paceline.cli.cluster import Cluster
from paceline.cli.cost import QuestionError, bill, day, show
from paceline.cli.main import app
from paceline.cost.report import line, sums, total, within
from paceline.plan.books import read_ledger

NOW = datetime(2026, 11, 25, 14, 2, 0, tzinfo=UTC)


def job(name, cost=None, namespace="a", team=None, phase="Succeeded", budget=None, ended="2026-11-25T12:00:00Z"):
    asked = {k: v for k, v in {"team": team, "budget": budget and {"maxUSD": budget}}.items() if v}
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": "2026-11-24T10:00:00Z"},
        "spec": {"image": "i", "command": ["x"], "cost": asked},
        "status": {"phase": phase} | ({"completionTime": ended} if ended else {}) | ({"cost": cost} if cost else {}),
    }


def spent(days, stays=(), as_of="2026-11-25T14:00:00Z", closed=None, **more):
    """A cost as the operator writes it; ``stays`` are pods that are there still."""
    usd = sum(map(Decimal, days.values()), Decimal(0))
    found = {"days": [{"date": d, "usd": u} for d, u in days.items()], "accruedUSD": f"{usd:f}", "gpuHours": "1.0000"}
    return found | {"asOf": as_of, "ledger": {"closed": closed or {}, "stays": list(stays)}} | more


def running(start="2026-11-25T13:02:00Z", rate="36", **more):
    return {"pods": "1-0..1-0", "start": start, "usdPerHour": rate, "gpus": 8} | more


DEAR = job("dear", spent({"2026-11-24": "100.0001", "2026-11-25": "20"}, idleUSD="7.5"), team="vision", budget="250")
CHEAP = job("cheap", spent({"2026-11-25": "3.5"}, lostUSD={"wastedProgress": "1", "recovery": "0.5"}), namespace="b")
OPEN = job("open", spent({"2026-11-25": "69.6"}, [running()]), team="vision", phase="Running", ended=None)
UNPRICED = job(
    "unpriced",
    {"asOf": "2026-11-25T14:00:00Z", "gpuHours": "4", "ledger": {"closed": {"gpuSeconds": "14400", "unpricedSeconds": "1800"}}},
)  # fmt: skip
QUEUED = job("queued", {"asOf": "2026-11-25T14:00:00Z", "gpuHours": "0.0000"}, phase="Queued", ended=None)
NEW = job("new", phase=None, ended=None)
ALL = [DEAR, CHEAP, OPEN, UNPRICED, QUEUED, NEW]


def lines(*jobs):
    parsed = [TrainingJob.parse(each) for each in jobs]
    return [line(each, read_ledger(each.status.cost), NOW) for each in parsed]


def by(rows):
    return {row.key[-1]: row.usd for row in rows}


def test_a_job_that_runs_is_counted_to_now_at_the_rate_of_its_pods():
    (found,) = lines(OPEN)
    assert found.usd == 72  # two pods for an hour, though the status is of two minutes ago
    assert (found.usd_per_hour, found.gpu_hours) == (72, 16)
    assert lines(job("ended", spent({"2026-11-25": "69.6"})))[0].usd == Decimal("69.6")


def test_dollars_after_the_last_write_are_of_their_own_day():
    over = job("over", spent({"2026-11-24": "36"}, [running("2026-11-24T23:02:00Z")], as_of="2026-11-24T23:32:00Z"))
    (found,) = lines(over)
    assert found.days == {date(2026, 11, 24): Decimal("69.6"), date(2026, 11, 25): 72 * 14 + Decimal("2.4")}


def test_what_is_unknown_is_unknown_and_what_never_had_a_node_costs_nothing():
    unpriced, queued, new = lines(UNPRICED, QUEUED, NEW)
    assert (unpriced.usd, unpriced.why, unpriced.gpu_hours) == (None, "price unknown", 4)
    assert (queued.usd, queued.why) == (0, "")
    assert (new.usd, new.why) == (None, "not counted")


def test_the_dearest_is_first_and_the_unknown_last():
    assert [row.key[1] for row in sums(lines(*ALL), "job")] == ["dear", "open", "cheap", "queued", "new", "unpriced"]
    assert by(sums(lines(*ALL), "namespace")) == {"a": Decimal("192.0001"), "b": Decimal("3.5")}
    assert by(sums(lines(*ALL), "team")) == {"vision": Decimal("192.0001"), "": Decimal("3.5")}
    assert by(sums(lines(*ALL), "day")) == {"2026-11-24": Decimal("100.0001"), "2026-11-25": Decimal("95.5")}
    assert sums(lines(UNPRICED), "team")[0].usd is None


def test_of_some_days_only_their_dollars_are_told_and_only_jobs_that_there_were():
    yesterday = within(lines(*ALL), date(2026, 11, 24), date(2026, 11, 24))
    assert {each.job: each.usd for each in yesterday}["dear"] == Decimal("100.0001")
    assert total(yesterday).gpu_hours == 4, "of those that have no dollars: they could not be told otherwise"
    assert [each.job for each in within(lines(*ALL), date(2026, 11, 26), None)] == ["open", "queued", "new"]


MONEY = st.decimals(0, 10**6, places=4)
DAYS = st.dictionaries(st.dates(date(2026, 11, 1), date(2026, 11, 25)).map(str), MONEY.map(str), max_size=6)
JOBS = st.lists(
    st.builds(
        lambda n, days, ns, team, open_: job(
            n, spent(days, [running()] if open_ else [], closed={"usd": "5"}), ns, team, ended=None
        ),
        st.text("abc", min_size=1, max_size=4), DAYS, st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), st.booleans(),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=100)
@given(jobs=JOBS, split=st.dates(date(2026, 11, 1), date(2026, 11, 25)))
def test_however_they_are_grouped_the_sums_are_the_sum_of_the_jobs(jobs, split):
    found = lines(*jobs)
    whole = sum((each.usd for each in found), Decimal(0))
    for grouping in ("job", "namespace", "team", "day"):
        assert sum((row.usd for row in sums(found, grouping)), Decimal(0)) == whole
    before, after = within(found, None, split), within(found, date.fromordinal(split.toordinal() + 1), None)
    assert sum(each.usd for each in before) + sum(each.usd for each in after) == whole


def shown(capsys, jobs, output="table", everywhere=True, **asked):
    show(bill(jobs, asked.pop("by", "job"), NOW, **asked), output, everywhere=everywhere)
    return capsys.readouterr().out


def test_a_table_with_its_sum_and_what_it_means(capsys):
    out = shown(capsys, ALL).splitlines()
    rows = [" ".join(row.split()) for row in out]
    assert rows[0] == "NAMESPACE JOB TEAM PHASE GPU-H USD/H IDLE LOST BUDGET USD"
    assert rows[1] == "a dear vision Succeeded 0.00 0.00 7.50 - 250.00 120.00"
    assert rows[6] == "a unpriced Succeeded 4.00 - - - price unknown"
    assert rows[7] == "TOTAL 20.00 72.00 7.50 1.50 195.50"
    assert out[1].rstrip().endswith("120.00")
    assert len({len(row.rstrip()) for row in out[:5]}) == 1, "money ends at one column"
    assert rows[8] == "Jobs that run are counted to now, at 14:02 UTC on 2026-11-25, at the rates of their pods."
    assert "Without a price, and in no sum of dollars: a/unpriced (4.00 GPU hours in all)." in rows[9]
    assert "Not counted by any operator yet: a/new." in rows
    assert rows[-1] == "Jobs that were deleted are not in it: Prometheus has them, as paceline_job_cost_usd_total."


def test_a_narrow_terminal_cuts_no_dollars_off(capsys, monkeypatch):
    wide = shown(capsys, ALL).splitlines()[:8]
    monkeypatch.setenv("COLUMNS", "40")
    assert shown(capsys, ALL).splitlines()[:8] == wide


def test_of_days_the_table_says_what_it_leaves_out(capsys):
    out = shown(capsys, ALL, by="day")
    assert [row.split() for row in out.splitlines()[:4]] == [
        ["DAY", "JOBS", "USD"],
        ["2026-11-24", "1", "100.00"],
        ["2026-11-25", "3", "95.50"],
        ["TOTAL", "6", "195.50"],
    ]
    assert "hours, rates, idle and lost dollars are not kept by day, and left out" in out
    assert "Whole days (UTC) from 2026-11-25:" in shown(capsys, ALL, since="1d")


def test_programs_get_exact_strings_and_nothing_where_nothing_is_known(capsys):
    told = json.loads(shown(capsys, ALL, "json"))
    assert told["asOf"] == "2026-11-25T14:02:00Z"
    assert told["rows"][0] | {"gpuHours": ""} == {
        "namespace": "a", "job": "dear", "team": "vision", "phase": "Succeeded", "usd": "120.0001", "unknown": "",
        "usdPerHour": "0.0000", "gpuHours": "", "idleUSD": "7.5", "lostUSD": None, "budgetUSD": "250",
    }  # fmt: skip
    assert told["total"]["usd"] == "195.5001"
    rows = list(csv.DictReader(io.StringIO(shown(capsys, ALL, "csv"))))
    assert (rows[-1]["job"], rows[-1]["usd"], rows[-1]["unknown"]) == ("unpriced", "", "price unknown")
    assert shown(capsys, [], "csv", by="team").strip() == "team,jobs,usd,usdPerHour,gpuHours,idleUSD,lostUSD"


def test_an_operator_that_does_not_write_is_noticed(capsys):
    old = job("old", spent({"2026-11-25": "1"}, [running()], as_of="2026-11-25T13:02:00Z"), ended=None)
    assert "for up to 1.0 h, though they ran: a/old. Is the operator running?" in shown(capsys, [old])


@pytest.mark.parametrize(
    ("text", "is_"), [("", None), ("1d", NOW.date()), ("7d", date(2026, 11, 19)), ("2026-11-01", date(2026, 11, 1))]
)
def test_days_are_given_as_dates_or_as_a_number(text, is_):
    assert day("--since", text, NOW.date()) == is_


@pytest.mark.parametrize(("since", "until"), [("week", ""), ("0d", ""), ("", "2026-13-01"), ("1d", "2026-11-01")])
def test_days_that_make_no_sense_are_refused_by_name(since, until):
    with pytest.raises(QuestionError, match=r"--since|--until"):
        bill([], "job", NOW, since, until)


def kubeconfig(server):
    named = {"clusters": ("cluster", {"server": server}), "users": ("user", {"token": "t"})}
    named["contexts"] = ("context", {"cluster": "here", "user": "here", "namespace": "a"})
    content = {kind: [{"name": "here", key: value}] for kind, (key, value) in named.items()}
    return yaml.safe_dump({"current-context": "here", **content})


class Pages(BaseHTTPRequestHandler):
    """Two jobs of the namespace a, a page for each."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        assert path == "/apis/paceline.dev/v1alpha1/namespaces/a/trainingjobs"
        last = "continue=more" in query
        page = {"metadata": {} if last else {"continue": "more"}, "items": [OPEN if last else DEAR]}
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_lists_are_read_to_their_last_page(tmp_path, monkeypatch):
    config = tmp_path / "config"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Thread(target=server.serve_forever).start()
        config.write_text(kubeconfig(f"http://127.0.0.1:{server.server_port}"), encoding="utf-8")
        done = CliRunner().invoke(app, ["cost", "-o", "csv"])
        server.shutdown()
    assert done.exit_code == 0, done.output
    assert {row["job"] for row in csv.DictReader(io.StringIO(done.stdout))} == {"dear", "open"}


@pytest.mark.parametrize(
    ("arguments", "server", "why"),
    [
        (["--context", "nope"], "https://127.0.0.1:1", "--context nope: there is none of that name; there are: here"),
        ([], "https://127.0.0.1:1", "the cluster at https://127.0.0.1:1 does not answer"),
        (["-A", "-n", "x"], "https://127.0.0.1:1", "not both"),
        ([], None, "Set KUBECONFIG, or write ~/.kube/config"),
    ],
)
def test_mistakes_name_the_cause_and_the_cure(tmp_path, monkeypatch, arguments, server, why):
    config = tmp_path / "config"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    if server:
        config.write_text(kubeconfig(server), encoding="utf-8")
    done = CliRunner().invoke(app, ["cost", *arguments])
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("status", "namespace", "why"),
    [
        (401, "", "does not know who asks: log in again"),
        (403, "x", "not allowed to list TrainingJobs in x: ask for the right to list them"),
        (403, "", r"can-i list trainingjobs.paceline.dev -A\), or ask for one namespace with -n"),
        (404, "x", "has no TrainingJobs .*: install Paceline's chart first"),
        (500, "x", "https://c says 500"),
    ],
)
def test_what_the_api_server_refuses_is_explained(status, namespace, why):
    cluster = Cluster(namespace, "https://c", None, None)
    assert re.search(why, str(cluster.explain(ApiException(status=status), namespace)))

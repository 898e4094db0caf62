"""Progress reports against a real HTTPS server, and against the callback in transformers whose words they are."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from paceline.plan.observed import Report
from paceline.server.payload import Payload, to_report
from paceline_trainer.progress import EVERY_SECONDS, LONGEST_SECONDS, Reporter, pace, payload
from tests.trainer.conftest import environment, launcher, written_by


@pytest.fixture
def away_for():
    """How many reports the server cannot check, before it can."""
    return 0


@pytest.fixture
def answer():
    """What the server says to a report."""
    return {}


@pytest.fixture
def endpoint(tmp_path, away_for, answer):
    """(environment, received): an HTTPS server with a CA of its own, as the operator is one."""
    received: list[tuple[str, dict]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Authorization"], json.loads(body)))
            code = 200 if self.headers["Authorization"] == "Bearer secret" else 401
            self.send_response(503 if len(received) <= self.server.away_for else code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.away_for = away_for
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    environ = {
        "KUBEFLOW_TRAINER_SERVER_URL": f"https://localhost:{server.server_port}/progress",
        "KUBEFLOW_TRAINER_SERVER_CA_CERT": str(tmp_path / "cert.pem"),
        "KUBEFLOW_TRAINER_SERVER_TOKEN": str(tmp_path / "token"),
    }
    yield environ, received
    server.shutdown()
    server.server_close()


def test_the_newest_and_the_last_report_arrive(endpoint):
    environ, received = endpoint
    reporter = Reporter(environ)
    for step in range(100):
        reporter.report(payload(percent=step, eta_seconds=9.6, metrics={"current_step": step, "loss": 0.25}))
    reporter.close(
        payload(percent=100, eta_seconds=0, metrics={"loss": 0.125}, model={"path": "/m", "metrics": {"accuracy": 0.5}})
    )
    assert len(received) <= 3, "most reports were superseded before they were sent"
    token, last = received[-1]
    assert token == "Bearer secret"
    assert last["trainerStatus"]["progressPercentage"] == 100
    assert last["trainerStatus"]["model"] == {"path": "/m", "metrics": [{"name": "accuracy", "value": "0.5"}]}


@pytest.mark.parametrize("answer", [{"everySeconds": 60}])
def test_where_many_report_each_does_as_seldom_as_it_is_told_and_the_last_arrives(endpoint):
    environ, received = endpoint
    reporter = Reporter(environ)
    reporter.report(payload(percent=1, eta_seconds=None, metrics={}))
    while not received:
        time.sleep(0.05)
    reporter.report(payload(percent=2, eta_seconds=None, metrics={}))
    time.sleep(EVERY_SECONDS + 1)
    assert len(received) == 1
    reporter.close()
    assert [body["trainerStatus"]["progressPercentage"] for _, body in received] == [1, 2]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"{}", EVERY_SECONDS),
        (b"", EVERY_SECONDS),
        (b"no JSON", EVERY_SECONDS),
        (b"[1]", EVERY_SECONDS),
        (b'{"everySeconds": null}', EVERY_SECONDS),
        (b'{"everySeconds": NaN}', EVERY_SECONDS),
        (b'{"everySeconds": 0}', EVERY_SECONDS),
        (b'{"everySeconds": 12.5}', 12.5),
        (b'{"everySeconds": 1e9}', LONGEST_SECONDS),
    ],
)
def test_an_answer_sets_the_pace_within_reason(said, seconds):
    assert pace(said) == seconds


@pytest.fixture(params=["nobody listens", "the answer is no HTTP"])
def broken(request, tmp_path):
    """The environment of a run whose progress endpoint is out of order."""
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    server = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.getsockname()[1]}/progress"
    if request.param == "nobody listens":
        server.close()
    else:
        threading.Thread(target=_babble, args=[server], daemon=True).start()
    yield {"KUBEFLOW_TRAINER_SERVER_URL": url, "KUBEFLOW_TRAINER_SERVER_TOKEN": str(token)}
    server.close()


def _babble(server):
    with contextlib.suppress(OSError):  # the test has closed it
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"no HTTP at all\r\n\r\n")


def test_a_broken_server_neither_fails_nor_delays_training(broken, capsys):
    reporter = Reporter(broken)
    began = time.process_time()
    for step in range(1000):
        reporter.report(payload(percent=step / 10, eta_seconds=None, metrics={}))
    assert time.process_time() - began < 5, "report() does no I/O: this is CPU time of a thousand calls"
    reporter.close(seconds=8)
    assert reporter.failures >= 4, "the last report is tried again, whatever the answers were"
    assert capsys.readouterr().out.count("not delivered") == 1


def test_a_report_that_was_not_delivered_is_still_owed_at_the_end():
    reporter = Reporter({"KUBEFLOW_TRAINER_SERVER_URL": "http://127.0.0.1:9/progress"})
    reporter.report(payload(percent=100, eta_seconds=0, metrics={}))
    deadline = time.monotonic() + 10
    while not reporter.failures and time.monotonic() < deadline:
        time.sleep(0.01)
    reporter.close(seconds=8)
    assert reporter.failures >= 5, "once when it was made, once and three times again at the end"


@pytest.mark.parametrize("away_for", [6])
def test_the_last_report_waits_for_an_operator_that_cannot_check_it_now(endpoint):
    environ, received = endpoint
    Reporter(environ).close(payload(percent=100, eta_seconds=0, metrics={}, model={"path": "/m"}))
    assert len(received) == 7, "said to come again six times, and then taken"


def test_the_last_report_is_given_up_where_it_is_refused(endpoint):
    environ, received = endpoint
    Path(environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).write_text("of another job", encoding="utf-8")
    Reporter(environ).close(payload(percent=100, eta_seconds=0, metrics={}))
    assert len(received) == 4


def test_a_token_that_is_refused_is_read_again(endpoint):
    environ, received = endpoint
    Path(environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).write_text("stale", encoding="utf-8")
    reporter = Reporter(environ)
    reporter.report(payload(percent=1, eta_seconds=1, metrics={}))
    deadline = time.monotonic() + 10
    while not reporter.failures and time.monotonic() < deadline:
        time.sleep(0.05)
    Path(environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).write_text("secret", encoding="utf-8")
    reporter.close(payload(percent=100, eta_seconds=0, metrics={}))
    assert [token for token, _ in received] == ["Bearer stale", "Bearer secret"]


def test_a_report_says_of_which_attempt_and_restart_it_is(endpoint):
    environ, received = endpoint
    Reporter({**environ, "PACELINE_ATTEMPT": "4", "TORCHELASTIC_RESTART_COUNT": "2"}).close(
        payload(percent=1, eta_seconds=1, metrics={})
    )
    Reporter(environ, restarts=1).close(payload(percent=1, eta_seconds=1, metrics={}))
    first, second = (body["trainerStatus"] for _, body in received)
    assert (first["attempt"], first["restartCount"], second["restartCount"]) == (4, 2, 1)
    assert "attempt" not in second
    report = to_report(Payload.model_validate({"trainerStatus": first}), None, now=1)
    assert (report.attempt, report.restart_count) == (4, 2)


def test_the_restarts_are_those_of_the_agent_that_counts_most(tmp_path):
    assert written_by("restarts.py", 3, tmp_path) == [2, 2, 2]


def test_what_has_no_steps_is_heard_of_again_and_training_is_not(endpoint):
    environ, received = endpoint
    reporter = Reporter(environ, heartbeat=0.05)
    reporter.report(payload(percent=0, eta_seconds=None, metrics={}, activity="evaluating"))
    deadline = time.monotonic() + 60
    while len(received) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    reporter.report(payload(percent=1, eta_seconds=None, metrics={"current_step": 1}))
    while received[-1][1]["trainerStatus"]["activity"] != "training" and time.monotonic() < deadline:
        time.sleep(0.05)
    beats = [body["trainerStatus"] for _, body in received]
    time.sleep(3)  # longer than the pause between two reports: another would have come
    assert len(received) == len(beats), "silence while training means that no step was made"
    assert {body["activity"] for body in beats[:-1]} == {"evaluating"}
    times = [body["lastUpdatedTime"] for body in beats]
    assert times == sorted(set(times)), "each says when it was sent"
    reporter.close()


def test_checkpoints_are_reported_in_the_words_that_the_operator_reads(endpoint, tmp_path):
    """A run that is terminated: the save at its end is told before it ends; the next one says what it resumed from."""
    environ, received = endpoint
    command = [
        *launcher(1),
        "-m",
        "paceline_trainer.run",
        "--recipe",
        "image-classification",
        "--output",
        str(tmp_path / "out"),
    ]
    env = environment(**environ, PACELINE_CHECKPOINT_DIR=str(tmp_path / "job"), PACELINE_ATTEMPT="1")
    child = subprocess.Popen([*command, "--params", '{"epochs": 1000}'], stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("step="):
            break
    child.terminate()
    saved = int(re.search(r"terminated by SIGTERM: step (\d+) is saved", child.stdout.read())[1])
    assert child.wait(60) == 143
    last = received[-1][1]["trainerStatus"]
    assert (last["activity"], last["checkpoint"]["step"]) == ("checkpointing", saved)
    told = to_report(Payload.model_validate(received[-1][1]), None, now=1).checkpoint
    assert told is not None
    assert (told.last_step, told.verified, told.resumed_from_step, told.error) == (saved, True, None, None)
    assert Path(told.path or "").is_dir()
    assert told.size_bytes == sum(
        f.stat().st_size for f in Path(told.path or "").iterdir() if f.name != "manifest.json"
    )

    done = subprocess.run(
        [*command, "--params", '{"epochs": 1}'], capture_output=True, text=True, env=env, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = to_report(Payload.model_validate(received[-1][1]), None, now=1).checkpoint
    assert told is not None
    assert told.resumed_from_step == saved
    assert {body["trainerStatus"]["activity"] for _, body in received} >= {"loading", "checkpointing", "evaluating"}


def test_without_an_endpoint_nothing_is_sent():
    reporter = Reporter({})
    reporter.report(payload(percent=1, eta_seconds=1, metrics={}))
    reporter.close()
    assert reporter.failures == 0


def test_our_words_are_those_of_the_callback_in_transformers(endpoint, monkeypatch):
    environ, received = endpoint
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import KubeflowCallback

    callback = KubeflowCallback()
    state = TrainerState(is_world_process_zero=True, max_steps=100, global_step=40, epoch=1.5)
    arguments, control = TrainingArguments(output_dir="/tmp/x", use_cpu=True), TrainerControl()
    callback.on_train_begin(arguments, state, control)
    callback.on_log(arguments, state, control, logs={"loss": 0.5})
    callback._last_update_time = 0.0  # it sends every 5 s; this test does not wait for that
    callback.on_step_end(arguments, state, control)
    callback.on_train_end(arguments, state, control)
    theirs = [body for _, body in received]
    assert len(theirs) == 3
    ours = payload(
        percent=40, eta_seconds=60, metrics={"current_step": 40, "total_steps": 100, "current_epoch": 1.5, "loss": 0.5}
    )
    assert ours["trainerStatus"].keys() - {"activity"} == theirs[1]["trainerStatus"].keys()
    assert {m["name"] for m in ours["trainerStatus"]["metrics"]} == {
        m["name"] for m in theirs[1]["trainerStatus"]["metrics"]
    }

    report: Report | None = None
    for body in theirs:  # and the operator understands what they send
        report = to_report(Payload.model_validate(body), report, 1.0)
    assert report is not None
    assert (report.percent, report.step, report.total_steps, report.epoch) == (100, 100, 100, "1.5")
    assert [(m.name, m.value) for m in report.metrics] == [("loss", "0.5")]

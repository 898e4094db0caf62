"""Progress to the operator, in the words of the Kubeflow callback that ships in transformers.

Reports are sent by a thread of their own: training never waits for them, and nothing that goes wrong with one ends it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

# Between two reports, until the operator's answer says otherwise: one of thousands is heard less often.
EVERY_SECONDS, LONGEST_SECONDS = 2.0, 600.0
TIMEOUT_SECONDS = 5.0
TOKEN_SECONDS = 300.0
# What a run leaves behind is known only by its last report: an operator or API server that is away for a minute is waited for.
FINAL_SECONDS = 90.0
# Of what has no steps (loading, evaluating, a checkpoint that training waits for) the last report is repeated this often.
HEARTBEAT_SECONDS = 15.0
# Of a run that is told to stop: it has little time, and an earlier report may be under way.
LAST_REPORT_SECONDS = 2 * TIMEOUT_SECONDS

Activity = Literal["loading", "training", "evaluating", "checkpointing", "compressing", "measuring", "serving"]


def payload(
    *,
    percent: float,
    eta_seconds: float | None,
    metrics: Mapping[str, float | int | str],
    model: Mapping[str, Any] | None = None,
    activity: Activity = "training",
    checkpoint: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of a report. ``model``: path, format, sha256 and metrics of what the run left behind, and
    environment (texts by name) where figures hold under these conditions only. ``checkpoint``: step, time, sizeBytes, path,
    verified and saveSeconds of the newest, resumedFromStep and restoreSeconds, and error where the latest save failed."""
    status: dict[str, Any] = {
        "lastUpdatedTime": _now(),
        "activity": activity,
        "progressPercentage": max(0, min(100, int(percent))),
        "metrics": [{"name": name, "value": _text(value)} for name, value in metrics.items()],
    }
    if eta_seconds is not None:
        status["estimatedRemainingSeconds"] = max(0, int(eta_seconds))
    if model is not None:
        figures = [{"name": name, "value": _text(value)} for name, value in model.get("metrics", {}).items()]
        status["model"] = {**model, "metrics": figures}
        if "environment" in model:
            status["model"]["environment"] = {name: str(text) for name, text in model["environment"].items()}
    if checkpoint:
        status["checkpoint"] = dict(checkpoint)
    return {"trainerStatus": status}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _text(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else 0


class Reporter:
    """Sends the newest report at most every two seconds; older unsent ones are dropped. Silent without an endpoint.

    A report of anything but training is repeated every ``heartbeat`` seconds while nothing newer comes. One of training never
    is: it means that a step was made. Every report says of which attempt and restart it is (``restarts``: as another process
    counts them, where that is more), and ``usage`` (usage.py) when it is sent.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        heartbeat: float = HEARTBEAT_SECONDS,
        usage: Callable[[], Mapping[str, Any]] | None = None,
        restarts: int = 0,
    ) -> None:
        self._url = environ.get("KUBEFLOW_TRAINER_SERVER_URL", "")
        self._ca = environ.get("KUBEFLOW_TRAINER_SERVER_CA_CERT", "")
        self._token_file = environ.get("KUBEFLOW_TRAINER_SERVER_TOKEN", "")
        self._token: tuple[str, float] = ("", -math.inf)
        self._generation: dict[str, int] = {
            "restartCount": max(restarts, _count(environ, "TORCHELASTIC_RESTART_COUNT"))
        }
        if "PACELINE_ATTEMPT" in environ:
            self._generation["attempt"] = _count(environ, "PACELINE_ATTEMPT")
        self._heartbeat, self._usage, self._every = heartbeat, usage, EVERY_SECONDS
        self._newest: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._closing = False
        self.failures = 0
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        if self._url:
            self._thread.start()

    def report(self, body: dict[str, Any]) -> None:
        """Never blocks."""
        with self._changed:
            self._newest = body
            self._changed.notify()

    def close(self, body: dict[str, Any] | None = None, seconds: float = FINAL_SECONDS) -> None:
        """Sends the last report, for at most ``seconds``: a few tries where it is refused, more where nobody can answer."""
        with self._changed:
            self._newest = body or self._newest
            self._closing = True
            self._changed.notify()
        if self._url:
            self._thread.join(seconds)

    def _run(self) -> None:
        pauses, last_tries = itertools.chain((0.5, 1.0), itertools.repeat(2.0)), 4
        repeated: dict[str, Any] | None = None
        while True:
            with self._changed:
                silence = None if repeated is None else max(self._heartbeat, self._every)
                self._changed.wait_for(lambda: self._newest is not None or self._closing, silence)
                body, self._newest, closing = self._newest, None, self._closing
            if body is None and closing:
                return
            if body is None:
                assert repeated is not None  # else the wait has no end
                body = {"trainerStatus": {**repeated["trainerStatus"], "lastUpdatedTime": _now()}}
            repeated = body if body["trainerStatus"]["activity"] != "training" else None
            if not self._send(body):
                with self._changed:
                    self._newest = self._newest or body  # nothing newer came meanwhile: this one is still owed
            if not closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, self._every)
                continue
            last_tries -= self._refused
            if self._newest is None or last_tries == 0:
                return
            time.sleep(next(pauses))

    def _send(self, body: dict[str, Any]) -> bool:
        try:
            context = ssl.create_default_context(cafile=self._ca) if self._ca else None
            headers = {"Authorization": f"Bearer {self._bearer()}", "Content-Type": "application/json"}
            usage = {"usage": self._usage()} if self._usage else {}
            sent = {"trainerStatus": {**body["trainerStatus"], **self._generation, **usage}}
            request = urllib.request.Request(self._url, json.dumps(sent).encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as answer:
                self._every = pace(answer.read())  # any status but 2xx has raised
                return True
        # URLError and HTTPError are OSErrors; an answer that is no HTTP is not. This thread must outlive every one of them.
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            self._token = ("", -math.inf)  # it may be the token that is refused: read it again
            self.failures += 1
            if self.failures == 1:
                print(f"progress report not delivered ({str(error).strip()}); training goes on", flush=True)
            return False

    def _bearer(self) -> str:
        token, read = self._token
        if time.monotonic() - read > TOKEN_SECONDS:
            token = Path(self._token_file).read_text(encoding="utf-8").strip()
            self._token = (token, time.monotonic())
        return token


def pace(answer: bytes) -> float:
    """Seconds until the next report, as an answer says; as often as at first where it does not."""
    try:
        asked = float(json.loads(answer)["everySeconds"])
    except (ValueError, TypeError, KeyError):
        return EVERY_SECONDS
    return min(max(asked, EVERY_SECONDS), LONGEST_SECONDS) if math.isfinite(asked) else EVERY_SECONDS

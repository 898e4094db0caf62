"""Progress to the operator, in the words of the Kubeflow callback that ships in transformers.

Reports are sent by a thread of their own: training never waits for them, and nothing that goes wrong with one ends it.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EVERY_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
TOKEN_SECONDS = 300.0
FINAL_SECONDS = 8.0


def payload(
    *,
    percent: float,
    eta_seconds: float | None,
    metrics: Mapping[str, float | int | str],
    model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of a report. ``model``: path, format, sha256 and metrics of what the run left behind."""
    status: dict[str, Any] = {
        "lastUpdatedTime": datetime.now(UTC).isoformat(),
        "progressPercentage": max(0, min(100, int(percent))),
        "metrics": [{"name": name, "value": _text(value)} for name, value in metrics.items()],
    }
    if eta_seconds is not None:
        status["estimatedRemainingSeconds"] = max(0, int(eta_seconds))
    if model is not None:
        figures = [{"name": name, "value": _text(value)} for name, value in model.get("metrics", {}).items()]
        status["model"] = {**model, "metrics": figures}
    return {"trainerStatus": status}


def _text(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Reporter:
    """Sends the newest report at most every two seconds; older unsent ones are dropped. Silent without an endpoint."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._url = environ.get("KUBEFLOW_TRAINER_SERVER_URL", "")
        self._ca = environ.get("KUBEFLOW_TRAINER_SERVER_CA_CERT", "")
        self._token_file = environ.get("KUBEFLOW_TRAINER_SERVER_TOKEN", "")
        self._token: tuple[str, float] = ("", -math.inf)
        self._newest: dict[str, Any] | None = None
        self._changed = threading.Condition()
        self._closing = False
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        if self._url:
            self._thread.start()

    def report(self, body: dict[str, Any]) -> None:
        """Never blocks."""
        with self._changed:
            self._newest = body
            self._changed.notify()

    def close(self, body: dict[str, Any] | None = None) -> None:
        """Sends the last report, with a few tries, for at most FINAL_SECONDS."""
        with self._changed:
            self._newest = body or self._newest
            self._closing = True
            self._changed.notify()
        if self._url:
            self._thread.join(FINAL_SECONDS)

    def _run(self) -> None:
        last_tries = iter((0.5, 1.0, 2.0))
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._closing)
                body, self._newest, closing = self._newest, None, self._closing
            if body is None:
                return
            if not self._send(body):
                with self._changed:
                    self._newest = self._newest or body  # nothing newer came meanwhile: this one is still owed
            if not closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, EVERY_SECONDS)
                continue
            pause = next(last_tries, None)
            if self._newest is None or pause is None:
                return
            time.sleep(pause)

    def _send(self, body: dict[str, Any]) -> bool:
        try:
            context = ssl.create_default_context(cafile=self._ca) if self._ca else None
            headers = {"Authorization": f"Bearer {self._bearer()}", "Content-Type": "application/json"}
            request = urllib.request.Request(self._url, json.dumps(body).encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context):
                return True  # any status but 2xx raises
        # URLError and HTTPError are OSErrors; an answer that is no HTTP is not. This thread must outlive every one of them.
        except (OSError, ValueError, http.client.HTTPException) as error:
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

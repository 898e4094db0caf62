"""`helm test`: does the operator answer through its services? Runs in the operator's image, with no rights on the API server."""

from __future__ import annotations

import os
import ssl
import sys
import time
import urllib.error
import urllib.request

METRICS, PROGRESS = os.environ["METRICS"], os.environ.get("PROGRESS")
# A fresh installation has a leader after a few seconds, one whose leader was killed after twenty.
PATIENCE_SECONDS = 30


def ask(url: str, body: bytes | None = None, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """HTTP status and answer."""
    try:
        with urllib.request.urlopen(url, body, timeout=5, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.reason


def ready() -> None:
    assert ask(f"{METRICS}/readyz") == (200, "ok")


def metrics() -> None:
    code, text = ask(f"{METRICS}/metrics")
    assert code == 200, code
    assert "paceline_leader " in text, "no paceline_leader among the metrics"


def progress() -> None:
    """Only the leader is behind this service, by the certificate that pods are given the CA of; without a token it says no."""
    context = ssl.create_default_context(cafile="/ca/ca.crt")
    code, _ = ask(f"{PROGRESS}/v1alpha1/namespaces/none/trainingjobs/none/progress", b"{}", context)
    assert code == 401, code


for check in (ready, metrics, progress) if PROGRESS else (ready, metrics):
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            check()
        except (AssertionError, OSError) as error:
            if time.monotonic() > until:
                sys.exit(f"{check.__name__}: {error!r}")
            time.sleep(1)
        else:
            print(f"{check.__name__}: ok", flush=True)
            break

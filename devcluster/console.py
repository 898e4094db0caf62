"""What the user sees: a line for every long step with its usual duration, and errors that say what to do."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 20.0


class ClusterError(Exception):
    """Something that the user can mend; the message says how."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(what: str, usual: str) -> Iterator[None]:
    """Announces a long step with its usual duration, gives signs of life, and says how long it took."""
    began = time.monotonic()
    say(f"• {what} (usually {usual}) …")
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            say(f"  … {what}: {time.monotonic() - began:.0f} s")

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
    say(f"  ✓ {what}: {time.monotonic() - began:.1f} s")

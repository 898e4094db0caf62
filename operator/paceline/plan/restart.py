"""Restart policy: a failed gang starts again as a whole, a bounded number of times, after an exponential back-off."""

from __future__ import annotations

MAX_RESTARTS = 3
BACKOFF_SECONDS = 5
BACKOFF_MAX_SECONDS = 300

# The rest of a broken gang hangs in its collectives and has nothing to save: no reason to wait the full grace.
BROKEN_GANG_GRACE_SECONDS = 5


def exhausted(restarts: int) -> bool:
    return restarts >= MAX_RESTARTS


def backoff_seconds(restarts: int) -> int:
    """Seconds to wait before restart number ``restarts + 1``: 5, 10, 20 … at most 300."""
    return int(min(BACKOFF_SECONDS * 2 ** min(restarts, 16), BACKOFF_MAX_SECONDS))

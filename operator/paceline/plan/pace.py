"""How often each of many jobs is heard, and its status written for what may wait: one operator's time, shared by all.

A report costs the operator 2 ms, nearly all of it TLS: reporters do not keep their connections, which would cost it 287 KiB each.
Status writes were a quarter of what the API server did while many jobs started (ADR 13).
"""

from __future__ import annotations

# Of all jobs together: reports, writes for progress alone, and for the steps of a start.
REPORTS_A_SECOND = 100
WRITES_A_SECOND = 50
STEPS_A_SECOND = 10
# Of what a job costs, where nothing else is written; a cost that is older than cost/report.py's STALE_SECONDS has no operator.
REFRESHES_A_SECOND = 5
REFRESH_SECONDS, LONGEST_REFRESH_SECONDS = 300, 600
# Of a job that is one of few: as often as people look.
REPORT_SECONDS = 2.0
WRITE_SECONDS = 5.0
# What may wait (urgency.may_wait) waits so long for company, and no longer than that where very many start.
PATIENCE_SECONDS, LONGEST_PATIENCE_SECONDS = 2.0, 30.0
# What merely comes up (urgency.comes_up) is looked at so much later, once for all that has come by then.
COMPANY_SECONDS, LONGEST_COMPANY_SECONDS = 0.1, 1.0
LOOKS_A_SECOND = 200
# So many reports fit into the silence that counts as a stall: three may be lost on the way.
REPORTS_BEFORE_STALLED = 4


def report_every(reporting: int, stalled_seconds: int) -> float:
    """Seconds between two reports of a job, where so many report; ``stalled_seconds`` is how long it may be silent."""
    return min(max(REPORT_SECONDS, reporting / REPORTS_A_SECOND), stalled_seconds / REPORTS_BEFORE_STALLED)


def write_every(reporting: int) -> float:
    """Seconds between two writes of a job's status for progress alone."""
    return max(WRITE_SECONDS, reporting / WRITES_A_SECOND)


def refresh_every(there: int) -> float:
    """Seconds between two writes of a job's status for what it costs by now, where the pods of so many jobs are there."""
    return min(max(REFRESH_SECONDS, there / REFRESHES_A_SECOND), LONGEST_REFRESH_SECONDS)


def patience(starting: int) -> float:
    """Seconds between two writes of a job's status for what may wait, where so many jobs start."""
    return min(max(PATIENCE_SECONDS, starting / STEPS_A_SECOND), LONGEST_PATIENCE_SECONDS)


def company(starting: int) -> float:
    """Seconds from the news of a pod that comes up to the look at its job, where so many jobs start."""
    return min(max(COMPANY_SECONDS, starting / LOOKS_A_SECOND), LONGEST_COMPANY_SECONDS)

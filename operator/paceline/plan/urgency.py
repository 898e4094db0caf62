"""Which changes of a status are worth a write of their own at once, and which may wait for company.

Eight workers that start one after the other would otherwise be eight writes that each say one more.
"""

from __future__ import annotations

from paceline.api.status import TrainingJobStatus

# Counts and wording alone are written at most this often.
WORDING_SECONDS = 2.0


def only_wording(old: TrainingJobStatus, new: TrainingJobStatus) -> bool:
    """Do the two differ in nothing but counts and messages?"""
    blank = {"nodes": None, "message": None, "conditions": []}
    if old.model_copy(update=blank) != new.model_copy(update=blank):
        return False
    return [(c.type, c.status, c.reason) for c in old.conditions] == [
        (c.type, c.status, c.reason) for c in new.conditions
    ]

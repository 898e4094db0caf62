"""Run by test_progress.py: what each process knows of restarts in place, where the agent of rank n counts n of them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from paceline_trainer.distributed import world

if __name__ == "__main__":
    os.environ["TORCHELASTIC_RESTART_COUNT"] = os.environ["RANK"]
    with world() as here:
        told = here.gather(here.restarts)
    if here.main:
        Path(sys.argv[1]).write_text(json.dumps(told), encoding="utf-8")

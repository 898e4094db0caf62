"""TensorBoard event files: scalars by step, and the run's parameters as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What a process that is killed may lose.
_FLUSH_SECONDS = 10


class TensorBoard:
    """Writes to ``folder``, from a thread of its own; one process of a run has one."""

    def __init__(self, folder: Path, params: Mapping[str, Any], *, resumed_step: int) -> None:
        """``resumed_step``: steps done so far. What an interrupted run wrote after them is not shown."""
        from torch.utils.tensorboard import SummaryWriter

        # purge_step is the first step to be written again.
        first = resumed_step + 1 if resumed_step else None
        self._writer = SummaryWriter(str(folder), purge_step=first, flush_secs=_FLUSH_SECONDS)
        self._writer.add_text("params", f"```json\n{json.dumps(params, indent=1, default=str)}\n```", resumed_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """By names as ``train/loss``: TensorBoard groups by what stands before the slash."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """All is in the file afterwards."""
        self._writer.close()

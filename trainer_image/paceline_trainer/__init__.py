"""Paceline's trainer: recipes that run under torchrun, and the pieces that they are made of.

The pieces that a training loop of one's own is built with (docs/own-loop.md) can be imported from here; torch is imported when
one of them is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline_trainer.datafiles.batches import Batch, Batches
    from paceline_trainer.datafiles.files import DataError, read_files, read_hub
    from paceline_trainer.datafiles.stream import StreamBatches
    from paceline_trainer.distributed import World, world
    from paceline_trainer.pieces import Checkpoints, Progress

__version__ = "0.1.0"

_WHERE = {
    "Batch": "datafiles.batches",
    "Batches": "datafiles.batches",
    "Checkpoints": "pieces",
    "DataError": "datafiles.files",
    "Progress": "pieces",
    "StreamBatches": "datafiles.stream",
    "World": "distributed",
    "read_files": "datafiles.files",
    "read_hub": "datafiles.files",
    "world": "distributed",
}
__all__ = [
    "Batch",
    "Batches",
    "Checkpoints",
    "DataError",
    "Progress",
    "StreamBatches",
    "World",
    "read_files",
    "read_hub",
    "world",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)

"""Checkpoints: sharded, asynchronous, atomic, on a file system or in an object store. docs/checkpoints.md has the whole story.

    settings = Settings.from_environ(os.environ)         # None where no checkpoints are wanted
    saver = Saver(settings, world, identity={"recipe": "mine"})
    resumed = saver.resume(state)                        # the newest good checkpoint's manifest, or None
    saver.save(state, Position(...), score=loss)         # returns once the state is copied; files are written meanwhile
    saver.finish()                                       # before the process ends

Every process of the group makes the same calls in the same order.
"""

from __future__ import annotations

from paceline_trainer.checkpoint.fence import FencedError
from paceline_trainer.checkpoint.manifest import Manifest
from paceline_trainer.checkpoint.saver import Saver
from paceline_trainer.checkpoint.settings import Settings
from paceline_trainer.checkpoint.state import State
from paceline_trainer.data import Position

__all__ = ["FencedError", "Manifest", "Position", "Saver", "Settings", "State"]

"""The fence between generations of a gang: a writer that was cut off must not write over what its successor wrote."""

from __future__ import annotations

from paceline_trainer.checkpoint.storage import Storage

FOLDER = ".attempts"


class FencedError(RuntimeError):
    """A newer attempt of this job has taken the directory: this process belongs to a generation that was given up."""


class Fence:
    """A marker of its own for every attempt. Markers are only ever added, so no order of writes can lose one."""

    def __init__(self, storage: Storage, attempt: int) -> None:
        self._storage, self._attempt, self._recorded = storage, attempt, False

    def check(self) -> None:
        """Records this attempt, once; raises FencedError if there is a higher one, else what the storage raises."""
        if not self._recorded:
            self._storage.put(f"{FOLDER}/{self._attempt:08d}", b"")
            self._recorded = True
        newest = max((int(name) for name in self._storage.names(FOLDER) if name.isdecimal()), default=0)
        if newest > self._attempt:
            raise FencedError(
                f"attempt {newest} of this job has taken {self._storage.url}; this process is of attempt {self._attempt} "
                "and ends without writing to it"
            )

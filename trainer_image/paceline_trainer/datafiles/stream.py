"""Batches of a stream: data that is read on the way, for what is too large to be kept.

The order of a stream follows from seed and epoch alone; a global batch is the next so many rows of it, and each process
decodes its part of them. Every process reads the whole stream: so all of them know where an epoch ends, none needs to ask the
others, and any number of processes can go on from a count of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from datasets import Dataset, IterableDataset  # type: ignore[import-untyped]
from datasets.exceptions import DatasetGenerationError  # type: ignore[import-untyped]

from paceline_trainer.data import Position
from paceline_trainer.datafiles.batches import Batch, Collate, Place, Positioned, collate, scale_of
from paceline_trainer.datafiles.files import DataError, unreadable


class StreamBatches(Positioned):
    """As Batches, of read_files(..., streaming=True) or any other IterableDataset.

    The rows before the position of a resume are read once more, without being decoded.
    """

    def __init__(
        self,
        data: IterableDataset,
        place: Place,
        *,
        batch_size: int,
        epochs: int,
        seed: int = 0,
        shuffle_buffer: int = 1000,
        collate_fn: Collate = collate,
    ) -> None:
        """``batch_size``: samples of a step over all processes. ``shuffle_buffer``: rows that are in memory to be drawn from;
        0 keeps the files' order. ``collate_fn`` sees the rows of this process alone."""
        self._features = data.features
        plain = data.with_format(None)
        self._rows = plain.decode(False) if self._features else plain
        if shuffle_buffer:
            self._rows = self._rows.shuffle(seed=seed, buffer_size=shuffle_buffer)
        self._place, self._batch_size, self._epochs, self._seed = place, batch_size, epochs, seed
        self._shuffle_buffer, self._collate = shuffle_buffer, collate_fn
        self.position = Position(0, 0, 0, 0)

    @property
    def per_epoch(self) -> int | None:
        """Batches of an epoch; known when the first has ended."""
        at = self.position
        return (at.step - at.batch) // at.epoch if at.epoch else None

    @property
    def total(self) -> int | None:
        """Steps of the whole run; known when the first epoch has ended."""
        return self.per_epoch * self._epochs if self.per_epoch else None

    def identity(self) -> dict[str, Any]:
        """What must be the same for a position to mean the same batch."""
        return {"shuffle_buffer": self._shuffle_buffer, "batch_size": self._batch_size, "seed": self._seed}

    def __iter__(self) -> Iterator[Batch]:
        for epoch in range(self.position.epoch, self._epochs):
            rows = self._epoch(epoch)
            while whole := list(islice(rows, self._batch_size)):
                at = self.position
                self.position = Position(at.step + 1, epoch, at.batch + 1, at.samples + len(whole))
                yield self._batch(whole)
            at = self.position
            if at.batch == 0:
                raise DataError("there is no row in the stream; read other files, or filter fewer of them out")
            self.position = Position(at.step, epoch + 1, 0, at.samples)

    def _epoch(self, epoch: int) -> Iterator[Mapping[str, Any]]:
        """The rows from the position on. Raises DataError where there are fewer than were seen before."""
        if self._shuffle_buffer:
            self._rows.set_epoch(epoch)
        rows = self._read()
        batch = self.position.batch
        seen = sum(1 for _ in islice(rows, batch * self._batch_size))
        if batch and seen <= (batch - 1) * self._batch_size:
            raise DataError(
                f"the stream has {seen} rows, but {batch} batches of {self._batch_size} were trained on before: it is not the "
                "data that this run began with; give it back, or start a new job"
            )
        return rows

    def _read(self) -> Iterator[Mapping[str, Any]]:
        try:
            yield from self._rows
        except (DatasetGenerationError, OSError, ValueError) as error:
            raise unreadable("the stream", error) from error

    def _batch(self, whole: list[Mapping[str, Any]]) -> Batch:
        mine = whole[self._place.rank :: self._place.size]
        decoded = Dataset.from_list([dict(row) for row in mine or whole[:1]], features=self._features)
        decoded.set_format("torch")
        samples = self._collate(decoded.__getitems__(list(range(len(decoded)))))
        at, per_epoch = self.position, self.per_epoch
        return Batch(
            samples=samples,
            scale=scale_of(len(mine), len(whole), self._place),
            size=len(whole),
            step=at.step,
            total=self.total,
            epoch=at.epoch + (at.batch / per_epoch if per_epoch else 0),
            epochs=self._epochs,
            seen=at.samples,
        )

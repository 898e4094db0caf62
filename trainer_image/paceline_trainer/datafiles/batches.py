"""Batches that all processes share: every sample once an epoch, in an order that another number of processes goes on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from paceline_trainer.data import Position, batches_per_epoch, epoch_order, global_batches, position, shard
from paceline_trainer.datafiles.files import DataError

Collate = Callable[[Sequence[Any]], Any]


class Place(Protocol):
    """What of a World counts here."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """This process's part of a global batch.

    ``samples`` is as collated. ``scale`` makes of the mean loss of these samples what DDP's average over the processes turns
    into the mean over the global batch, of ``size`` samples. A process without a sample has one that counts 0, as the others
    wait for its backward. ``step`` counts from 1, to ``total`` where that is known; ``epoch`` is a share of all epochs done;
    ``seen`` are the samples of all batches so far, this one among them.
    """

    samples: Any
    scale: float
    size: int
    step: int
    total: int | None
    epoch: float
    epochs: int
    seen: int


class Positioned:
    """Something that goes through data; a checkpoint keeps where it is."""

    position: Position

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.position)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From ``state_dict()``, of any number of processes."""
        self.position = Position(**state)


class Batches(Positioned):
    """Of a map-style data set: ``len(data)`` and ``data[i]``, such as read_files(...), TensorDataset or torchvision's.

    Iterate once, to the end of the last epoch. A batch counts as trained on when it is given out. Order and batches follow
    from seed and epoch alone (data.epoch_order), so that a position is a number, at any number of processes.
    """

    def __init__(
        self, data: Dataset[Any], place: Place, *, batch_size: int, epochs: int, seed: int = 0, **loader: Any
    ) -> None:
        """``batch_size``: samples of a step over all processes. ``loader``: for DataLoader, such as num_workers, collate_fn."""
        self._data, self._place = data, place
        self._count = len(data)  # type: ignore[arg-type]  # torch's Dataset does not say that it has a length
        if not self._count:
            raise DataError("there is no sample in the data; read other files, or filter fewer of them out")
        self._batch_size, self._epochs, self._seed = batch_size, epochs, seed
        self._loader = {"collate_fn": collate, **loader}
        self.per_epoch = batches_per_epoch(self._count, batch_size)
        self.position = position(0, self._count, batch_size)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self._epochs * self.per_epoch

    def identity(self) -> dict[str, Any]:
        """What must be the same for a position to mean the same batch."""
        return {"samples": self._count, "batch_size": self._batch_size, "seed": self._seed}

    def __iter__(self) -> Iterator[Batch]:
        # A generator of its own: DataLoader would draw from the one whose state the checkpoint restored.
        begin = self.position
        generator = torch.Generator().manual_seed(self._seed + begin.step)
        indices = (seen.tolist() for seen, *_ in self._shares(begin))
        loader = DataLoader(self._data, batch_sampler=indices, generator=generator, **self._loader)
        for (_, scale, size), samples in zip(self._shares(begin), loader, strict=True):
            step = self.position.step + 1
            self.position = position(step, self._count, self._batch_size)
            seen, epoch = self.position.samples, step / self.per_epoch
            yield Batch(samples, scale, size, step, self.total, epoch, self._epochs, seen)

    def _shares(self, begin: Position) -> Iterator[tuple[Tensor, float, int]]:
        """(indices (S,), scale, size of the global batch) of every batch from here on."""
        for epoch in range(begin.epoch, self._epochs):
            batches = global_batches(epoch_order(self._count, self._seed, epoch), self._batch_size)
            for batch in batches[begin.batch if epoch == begin.epoch else 0 :]:
                mine = shard(batch, self._place.rank, self._place.size)
                yield mine if len(mine) else batch[:1], scale_of(len(mine), len(batch), self._place), len(batch)


def scale_of(mine: int, size: int, place: Place) -> float:
    return mine * place.size / size


def collate(rows: Sequence[Any]) -> Any:
    """torch's, but naming the column that does not fit. Raises DataError."""
    columns = {name: [row[name] for row in rows] for name in rows[0]} if isinstance(rows[0], Mapping) else {}
    for name, values in columns.items():
        if any(value is None for value in values):
            raise DataError(f"column {name!r}: has no value in some rows; filter them out, or leave the column out")
        shapes = sorted({tuple(value.shape) for value in values if isinstance(value, Tensor)})
        if len(shapes) > 1:
            raise DataError(
                f"column {name!r}: samples differ in shape, such as {shapes[0]} and {shapes[1]}; make them equal with "
                "data.map(), or pad them in a collate_fn of your own"
            )
    return default_collate(list(rows))

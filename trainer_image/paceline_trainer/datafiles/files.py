"""Data sets out of files or from the Hugging Face hub, read by the library ``datasets``.

Rows come in torch's format: numbers and images as tensors (floats as float32, images as uint8 (channels, height, width)), texts
as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
from datasets import Dataset, IterableDataset
from datasets.exceptions import DatasetGenerationError  # type: ignore[import-untyped]

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

ROWS_FOR_TYPES = 1000


class DataError(Exception):
    """Data that cannot be read; the message names the file or the column, and the cure."""


def read_files(path: str | Path, columns: Sequence[str] = (), *, streaming: bool = False) -> Dataset | IterableDataset:
    """A csv, json(l) or parquet file, or a folder of such files in the order of their names, or a folder of images.

    Of images, the subfolder's name is the class: columns ``image`` and ``label``. ``columns``: those that are wanted, else all.
    Without ``streaming`` the files are converted to Arrow once, in the library's cache, and rows can be taken in any order. The
    types of a csv or json stream are those of its first 1000 rows. Raises DataError.
    """
    path = Path(path).absolute()
    builder, found = _files(path)
    # An image's class is said by its folder, also where there is but one.
    labels: dict[str, Any] = {"drop_labels": False} if builder == "imagefolder" else {}

    def read() -> Dataset | IterableDataset:
        return datasets.load_dataset(builder, data_files=found, split="train", streaming=streaming, **labels)

    return _chosen(_told(read, str(path)), columns, str(path))


def read_hub(
    name: str,
    columns: Sequence[str] = (),
    *,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """A data set ``owner/name`` of the hub. ``revision`` is a commit or tag: without one, a run that goes on after a while may
    find other data than it began with. Raises DataError."""
    what = f"hub data set {name!r}, split {split!r}"
    found = _told(lambda: datasets.load_dataset(name, split=split, revision=revision, streaming=streaming), what)
    return _chosen(found, columns, what)


def _files(path: Path) -> tuple[str, list[str]]:
    """The library's builder and the files. Raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: is not there; mount the volume that has it, or correct the path")
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        suffix = file.suffix.lower()
        kind = "imagefolder" if suffix in IMAGES else FORMATS.get(suffix)
        if kind and file.is_file():
            kinds[kind].append(str(file))
    if not kinds:
        readable = ", ".join(sorted({*FORMATS, *IMAGES}))
        raise DataError(f"{path}: no file that can be read; there must be files that end in one of {readable}")
    if len(kinds) > 1:
        files = " and ".join(some[0] for some in kinds.values())
        raise DataError(f"{path}: files of several formats, such as {files}; give each format a folder of its own")
    return next(iter(kinds.items()))


def _told(read: Callable[[], Dataset | IterableDataset], what: str) -> Dataset | IterableDataset:
    """What goes wrong, in the words of a DataError."""
    try:
        return read()
    except ConnectionError as error:
        raise DataError(
            f"{what}: the hub cannot be reached ({error}); let the pods reach huggingface.co, unset HF_HUB_OFFLINE, or put "
            "the data into a volume and read its files"
        ) from error
    except DatasetGenerationError as error:
        raise unreadable(what, error.__cause__ or error) from error
    except (OSError, ValueError) as error:
        raise unreadable(what, error) from error


def unreadable(what: str, error: BaseException) -> DataError:
    return DataError(f"{what}: cannot be read: {error}; correct or remove what is damaged")


def _chosen(found: Dataset | IterableDataset, columns: Sequence[str], what: str) -> Dataset | IterableDataset:
    if found.features is None:
        # A stream of texts (csv, json) has no types but what its rows are read as, which may differ from block to block.
        first = _told(lambda: Dataset.from_list(list(found.take(ROWS_FOR_TYPES))), what)
        found = found.cast(first.features)
    for column in columns:
        if column not in found.column_names:
            raise DataError(f"{what}: has no column {column!r}; there are: {', '.join(found.column_names)}")
    return (found.select_columns(list(columns)) if columns else found).with_format("torch")

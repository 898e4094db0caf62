"""torch.distributed.checkpoint's writer for fsspec, with what makes a set of files a checkpoint: hashes, manifest, publication.

The files are hashed while they are written. DCP gathers every process's results at rank 0 and calls ``finish`` there; what
fails in any process, or there, fails the save in all of them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch.distributed.checkpoint.filesystem import FileSystemBase
from torch.distributed.checkpoint.fsspec_filesystem import FsspecWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from paceline_trainer.checkpoint.fence import FencedError
from paceline_trainer.checkpoint.manifest import StoredFile
from paceline_trainer.checkpoint.storage import OPTIONS

_METADATA = ".metadata"


@dataclass(frozen=True)
class _Written:
    """Travels to rank 0 with DCP's own results."""

    files: dict[str, StoredFile]


class SaveError(Exception):
    """Why a save failed, in words: what DCP carries between processes must survive pickling, which not every error does."""


@contextmanager
def _in_words() -> Generator[None, None, None]:
    try:
        yield
    except FencedError:
        raise
    except Exception as error:
        raise SaveError(f"{type(error).__name__}: {error}") from error


class Writer(FsspecWriter):
    """Writes to ``path``; ``sync`` is for file systems: an object store has no fsync and no folders.

    On rank 0, ``prepare`` runs before anything is written, and ``publish`` with all files after it.
    """

    def __init__(
        self,
        path: str,
        *,
        sync: bool,
        prepare: Callable[[], None],
        publish: Callable[[dict[str, StoredFile]], None],
    ) -> None:
        super().__init__(path, sync_files=sync, **OPTIONS)
        self._hashing = _Hashing(self.fs, folders=sync)
        self.fs = cast(Any, self._hashing)
        self._prepare, self._publish = prepare, publish

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        with _in_words():
            return super().prepare_local_plan(plan)

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        with _in_words():
            self._prepare()
        return super().prepare_global_plan(plans)

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        with _in_words():
            results = cast("list[Any]", super().write_data(plan, planner).value())
        done: Future[list[WriteResult]] = Future()
        done.set_result(cast("list[WriteResult]", [*results, _Written(self._hashing.files)]))
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        everything = cast("list[list[Any]]", results)
        files = {
            name: file for part in everything for r in part if isinstance(r, _Written) for name, file in r.files.items()
        }
        with _in_words():
            super().finish(metadata, [[r for r in part if not isinstance(r, _Written)] for part in everything])
            # DCP writes its metadata under another name and renames it.
            self._publish(files | {_METADATA: self._hashing.files[f"{_METADATA}.tmp"]})


class _Hashing(FileSystemBase):
    """DCP's file system; what is written through it is hashed on the way."""

    def __init__(self, inner: Any, *, folders: bool) -> None:
        self._inner, self._folders = inner, folders
        self.files: dict[str, StoredFile] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Generator[io.IOBase, None, None]:
        with self._inner.create_stream(path, mode) as stream:
            if "w" not in mode:
                yield stream
                return
            hashed = _HashedStream(stream)
            yield cast(io.IOBase, hashed)
            self.files[os.path.basename(os.fspath(path))] = StoredFile(hashed.size, hashed.digest.hexdigest())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def concat_path(self, path: str | os.PathLike[str], suffix: str) -> str | os.PathLike[str]:
        return cast(str, self._inner.concat_path(path, suffix))

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        self._inner.rename(path, new_path)

    def init_path(self, path: str | os.PathLike[str]) -> str | os.PathLike[str]:
        return path

    def mkdir(self, path: str | os.PathLike[str]) -> None:
        if self._folders:  # s3fs would make a bucket that is missing
            self._inner.mkdir(path)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True

    def exists(self, path: str | os.PathLike[str]) -> bool:
        return bool(self._inner.exists(path))

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        self._inner.rm_file(path)


class _HashedStream:
    """What DCP uses of a stream: appends to ``inner``, and knows size and digest of what went through."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.size, self.digest = inner, 0, hashlib.sha256()

    def write(self, data: Any) -> int:
        block = memoryview(data).cast("B")
        self._inner.write(block)
        self.digest.update(block)
        self.size += len(block)
        return len(block)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._inner.flush()

    def fileno(self) -> int:
        return cast(int, self._inner.fileno())

    def close(self) -> None:
        """The stream's owner closes it."""

"""Where checkpoints lie: a directory, or a prefix of an object store, both by fsspec.

A directory has an atomic rename: a checkpoint is assembled under a hidden name, synced, and renamed. An object store has none,
but each object appears whole or not at all: the data goes first and the manifest last. Either way, where there is a manifest,
there is a checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from paceline_trainer.checkpoint import manifest as manifests
from paceline_trainer.checkpoint.manifest import DamagedError, Manifest, StoredFile, UnreadableError

# Listings and instances of fsspec are cached by default: another pod's writes would not be seen.
OPTIONS: dict[str, Any] = {"use_listings_cache": False}
_BLOCK = 8 << 20


class Storage:
    """One job's checkpoints. Every method raises what fsspec raises: mostly OSError, for S3 also botocore's errors."""

    def __init__(self, directory: str) -> None:
        self.url = directory.rstrip("/") if "://" in directory else os.path.abspath(directory)
        self.fs, self._root = url_to_fs(self.url, **OPTIONS)
        self._root = self._root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        self._changed = _checksum_errors(self.url)

    def path(self, name: str) -> str:
        """The name as people and ``status.checkpoint.path`` see it."""
        return f"{self.url}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """What lies in the directory, or in a folder of it; nothing where there is none."""
        at = f"{self._root}/{folder}".rstrip("/")
        try:
            entries = self.fs.ls(at, detail=False)
        except FileNotFoundError:
            return []
        return sorted(
            name for entry in entries if (name := entry.rstrip("/").rsplit("/", 1)[-1]) and entry.rstrip("/") != at
        )

    def steps(self) -> list[str]:
        """Names of checkpoints, whole or not, newest first."""
        found = [name for name in self.names() if manifests.step_of(name) is not None]
        return sorted(found, key=lambda name: manifests.step_of(name) or 0, reverse=True)

    def put(self, name: str, content: bytes) -> None:
        """A small file, whole or not at all."""
        path = f"{self._root}/{name}"
        if not self.local:
            self.fs.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
        _sync(target.parent)

    def manifest(self, name: str) -> Manifest:
        """Raises DamagedError where there is none that can be trusted."""
        with self._reading(manifests.FILE):
            content = self.fs.cat_file(f"{self._root}/{name}/{manifests.FILE}")
        found = Manifest.from_json(content)
        if found.name != name:
            raise DamagedError(f"its manifest is that of {found.name}")
        return found

    def check(self, name: str, file: str, expected: StoredFile) -> None:
        """Reads a file of a checkpoint. Raises DamagedError where it is not what the manifest says."""
        path, digest, size = f"{self._root}/{name}/{file}", hashlib.sha256(), 0
        with self._reading(file):
            if (stored := self.fs.size(path)) != expected.size:
                raise DamagedError(f"{file} has {stored} bytes instead of {expected.size}")
            with self.fs.open(path, "rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    size += len(block)
        if (size, digest.hexdigest()) != (expected.size, expected.sha256):
            raise DamagedError(f"{file} does not have the content that its manifest says")

    @contextmanager
    def _reading(self, file: str) -> Generator[None, None, None]:
        """A broken sector is that file's; an object store that does not answer says nothing of any checkpoint, and raises."""
        try:
            yield
        except FileNotFoundError:
            raise DamagedError(f"{file} is missing: it was never completed") from None
        except self._changed as error:
            raise DamagedError(f"{file} does not have the content that was stored: {error}") from error
        except OSError as error:
            if not self.local:
                raise
            raise UnreadableError(f"{file} cannot be read: {error}") from error

    def assembly(self, name: str) -> str:
        """Where a checkpoint is put together: a path or URL for torch.distributed.checkpoint."""
        return self.path(f".{name}.partial" if self.local else name)

    def clear_assembly(self, name: str) -> None:
        """Removes what an earlier try left there. Not the directory: other nodes may already hold it open (NFS)."""
        if self.local:
            for file in Path(self.assembly(name)).glob("*"):
                file.unlink()
        else:
            self.remove(name)

    def publish(self, made: Manifest) -> None:
        """Makes an assembled checkpoint appear, durably. Raises DamagedError where a file is not as large as it was written."""
        folder = f".{made.name}.partial" if self.local else made.name
        for file, written in made.files.items():
            try:
                size = self.fs.size(f"{self._root}/{folder}/{file}")
            except FileNotFoundError:
                raise DamagedError(
                    f"{file}, which another process wrote, is not in {self.url} here: all nodes must share that directory"
                ) from None
            if size != written.size:
                raise DamagedError(f"{file} has {size} bytes where {written.size} were written")
        self.put(f"{folder}/{manifests.FILE}", made.to_json())
        if self.local:
            target = Path(self.path(made.name))
            if target.exists():
                self.remove(made.name)  # one that this run resumed before, because it was damaged or foreign
            Path(self.assembly(made.name)).rename(target)
            _sync(target.parent)

    def remove(self, name: str) -> None:
        """The manifest goes first: an end in the middle leaves none that speaks of missing files."""
        folder = f"{self._root}/{name}"
        if not self.fs.exists(folder):
            return
        with suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{manifests.FILE}")
        if self.fs.exists(folder):  # an object store's folder goes with its last object
            self.fs.rm(folder, recursive=True)

    def leftovers(self) -> list[str]:
        """Names of half-assembled checkpoints, of a directory."""
        return [name for name in self.names() if name.startswith(".step-") and name.endswith(".partial")]


def _checksum_errors(url: str) -> tuple[type[Exception], ...]:
    """What the store's own client raises for an object that is not what was uploaded."""
    if not url.startswith("s3://"):
        return ()
    from botocore.exceptions import FlexibleChecksumError  # type: ignore[import-untyped]

    return (FlexibleChecksumError,)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What a checkpoint says of itself. It is written last: where there is one, all the files it names were complete."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paceline_trainer.data import Position

FILE = "manifest.json"
FORMAT = "paceline-checkpoint/1"
_NAME = re.compile(r"step-(\d{8,})")


class DamagedError(Exception):
    """A checkpoint that must not be resumed from; the message says why."""


class UnreadableError(DamagedError):
    """The disk would not give it. It may do so another time, so it is never cleared away."""


@dataclass(frozen=True)
class StoredFile:
    """Size in bytes and hex digest of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """``identity`` is what must be the same for a run to resume from it; ``score`` is better the lower it is."""

    position: Position
    world_size: int
    attempt: int
    time: str  # RFC 3339
    torch: str
    identity: Mapping[str, Any]
    files: Mapping[str, StoredFile]
    score: float | None = None

    @property
    def name(self) -> str:
        return name_of(self.position.step)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    def to_json(self) -> bytes:
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps({**body, "sha256": _digest(body)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Raises DamagedError where it is torn, changed or of another format."""
        try:
            body = json.loads(text)
            said = body.pop("sha256")
            if body.pop("format") != FORMAT:
                raise DamagedError("its manifest is of another format")
            if said != _digest({"format": FORMAT, **body}):
                raise DamagedError("its manifest was changed")
            files = {name: StoredFile(**file) for name, file in body.pop("files").items()}
            return cls(position=Position(**body.pop("position")), files=files, **body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"its manifest cannot be read: {error!r}") from error


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of a checkpoint's name; None for anything else that lies there."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None

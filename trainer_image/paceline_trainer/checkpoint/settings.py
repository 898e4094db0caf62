"""What the operator asks for, by environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """``directory`` is a path or a URL of fsspec. Saves are due every so many steps or seconds; without either, only at SIGTERM
    and at the end. ``attempt`` is the gang's generation: a writer of an older one is fenced off."""

    directory: str
    every_steps: int | None = None
    every_seconds: float | None = None
    keep: int = 3
    attempt: int = 0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings | None:
        """None without PACELINE_CHECKPOINT_DIR. Raises ValueError, naming the variable, where one makes no sense."""
        directory = environ.get("PACELINE_CHECKPOINT_DIR", "")
        if not directory:
            return None
        return cls(
            directory=directory,
            every_steps=_positive(environ, "PACELINE_CHECKPOINT_EVERY_STEPS"),
            every_seconds=_positive(environ, "PACELINE_CHECKPOINT_EVERY_SECONDS"),
            keep=_positive(environ, "PACELINE_CHECKPOINT_KEEP") or cls.keep,
            attempt=int(environ.get("PACELINE_ATTEMPT") or 0),
        )


def _positive(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{name}: must be a whole number of at least 1, not {text!r}")
    return int(text)

"""Files that the environment carries, written beside the artifact: the report, which is made where all stages are known."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from paceline_trainer.artifact import MANIFEST
from paceline_trainer.compress.folders import FILES
from paceline_trainer.compress.request import Publish
from paceline_trainer.params import ParamError

VARIABLE = "PACELINE_FILES"


def run(request: Publish, say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> None:
    """Raises ParamError where the variable is not there or says something else, OSError where the disk is full or read-only."""
    files = carried(environ.get(VARIABLE, ""))
    request.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        _write(request.output / name, text)
    say(f"written to {request.output}: {', '.join(files)}")


def carried(value: str) -> dict[str, str]:
    """Texts by file name, of base64(gzip(JSON)). Raises ParamError."""
    if not value:
        raise ParamError(f"{VARIABLE}: is not set: there is nothing to publish")
    try:
        found = json.loads(gzip.decompress(base64.b64decode(value, validate=True)))
    except (binascii.Error, OSError, EOFError, zlib.error, ValueError) as error:
        raise ParamError(f"{VARIABLE}: is not base64 of gzip of JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ParamError(f"{VARIABLE}: must be a JSON object of texts by file name")
    taken = {MANIFEST, *FILES.values()}
    for name in found:
        if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name or name in taken:
            raise ParamError(f"{VARIABLE}: {name!r} is no name for a file beside a model")
    return found


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)

"""What is asked of this program, checked field by field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline_trainer.compress.methods import PARAMS, TARGETS
from paceline_trainer.params import ParamError, param, parse

FORMATS = ("safetensors", "onnx", "torchExport")
LONGEST_SERVING_SECONDS = 3600
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Measure:
    """Under what conditions latency is measured."""

    batch: int = param(1, "Samples at once.", minimum=1, maximum=1024)
    threads: int = param(1, "Of a runtime.", minimum=1, maximum=256)
    runs: int = param(200, "Timed runs of each model.", minimum=200, maximum=100_000)
    tokens: int = param(32, "Of each text.", minimum=2, maximum=512)


@dataclass(frozen=True)
class Stage:
    """Convert ``input`` by ``method``, measure the result beside ``source`` and write it into ``output``.

    ``target`` has one entry at most: the share of the input's MACs or parameters that may be left, or of zeros to reach.
    """

    source: Path
    input: Path
    output: Path
    method: str
    target: Mapping[str, float]
    params: Any
    measure: Measure
    seed: int


@dataclass(frozen=True)
class Export:
    """Write ``input`` in these formats into ``output``, reload each in a fresh process, and serve it for a while."""

    source: Path
    input: Path
    output: Path
    formats: tuple[str, ...]
    measure: Measure
    serve_seconds: int


@dataclass(frozen=True)
class Publish:
    """Write the files that the environment carries beside the artifact in ``output``."""

    output: Path


def identity(request: Stage | Export) -> dict[str, Any]:
    """As JSON; the same for requests with the same result. Without the output: a result may be moved."""
    found = dataclasses.asdict(request)
    del found["output"]
    return {"do": type(request).__name__.lower(), **{key: _plain(value) for key, value in found.items()}}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def parsed(text: str) -> Stage | Export | Publish:
    """Raises ParamError, whose message names the field."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ParamError(f"--request is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ParamError("--request must be a JSON object")
    readers: dict[str, Callable[[dict[str, Any]], Stage | Export | Publish]] = {
        "stage": _stage,
        "export": _export,
        "publish": _publish,
    }
    do = values.pop("do", None)
    if not isinstance(do, str) or do not in readers:
        raise ParamError(f"do: must be one of {', '.join(readers)}, not {do!r}")
    return readers[do](values)


def _stage(values: dict[str, Any]) -> Stage:
    _only(values, "source", "input", "output", "method", "target", "params", "measure", "seed")
    method = _choice("method", values.get("method"), tuple(PARAMS))
    return Stage(
        **_folders(values, "source", "input", "output"),
        method=method,
        target=_target(method, _object(values, "target")),
        params=parse(PARAMS[method], _object(values, "params")),
        measure=_measure(values),
        seed=_integer("seed", values.get("seed", 0), 0, LARGEST_SEED),
    )


def _export(values: dict[str, Any]) -> Export:
    _only(values, "source", "input", "output", "formats", "measure", "serveSeconds")
    formats = values.get("formats", [])
    if not isinstance(formats, list) or not formats:
        raise ParamError(f"formats: must be a list of some of {', '.join(FORMATS)}, not {formats!r}")
    return Export(
        **_folders(values, "source", "input", "output"),
        formats=tuple(dict.fromkeys(_choice("formats", one, FORMATS) for one in formats)),
        measure=_measure(values),
        serve_seconds=_integer("serveSeconds", values.get("serveSeconds", 60), 1, LONGEST_SERVING_SECONDS),
    )


def _publish(values: dict[str, Any]) -> Publish:
    _only(values, "output")
    return Publish(**_folders(values, "output"))


def _only(values: Mapping[str, Any], *known: str) -> None:
    for name in values:
        if name not in known:
            raise ParamError(f"{name}: unknown; there are: do, {', '.join(known)}")


def _folders(values: Mapping[str, Any], *names: str) -> dict[str, Path]:
    for name in names:
        value = values.get(name)
        if not isinstance(value, str) or not value:
            raise ParamError(f"{name}: must be a folder's path, not {value!r}")
    return {name: Path(values[name]) for name in names}


def _object(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise ParamError(f"{name}: must be an object, not {value!r}")
    return value


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ParamError(f"{name}: must be one of {', '.join(choices)}, not {value!r}")
    return value


def _integer(name: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ParamError(f"{name}: must be a whole number from {least} to {most}, not {value!r}")
    return value


def _measure(values: Mapping[str, Any]) -> Measure:
    asked = _object(values, "measure")
    try:
        return parse(Measure, asked)
    except ParamError as error:
        raise ParamError(str(error).replace("params.", "measure.", 1)) from error


def _target(method: str, asked: dict[str, Any]) -> dict[str, float]:
    known = TARGETS.get(method, ())
    for name, value in asked.items():
        if name not in known:
            takes = f"takes {' or '.join(known)}" if known else "takes no target"
            raise ParamError(f"target.{name}: unknown; {method} {takes}")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
            raise ParamError(f"target.{name}: must be a number between 0 and 1, not {value!r}")
    if known and len(asked) != 1:
        raise ParamError(f"target: {method} needs exactly one of {', '.join(known)}")
    return {name: float(value) for name, value in asked.items()}

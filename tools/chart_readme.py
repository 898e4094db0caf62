"""The chart's README from its values.yaml: every value with its default and the comment above it (`make chart-readme`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from devcluster.paths import PROJECT

CHART = PROJECT / "charts/paceline"
HEAD = """<!-- Generated from values.yaml by `make chart-readme`; do not edit. -->

# {name} {version}

{description}

    helm upgrade --install paceline charts/paceline -n paceline-system --create-namespace --wait
    helm test paceline -n paceline-system

How to build its images, what it may do, and how it is upgraded and removed: [docs/install.md](../../docs/install.md).

| value | default | |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class Value:
    key: str
    default: str  # as YAML on one line; empty: a section, whose values follow
    comment: str


def values(text: str) -> Iterator[Value]:
    """In the file's order. A comment is what stands right above a key.

    Raises ValueError where neither a value nor its section has one.
    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _below(root, "", text.splitlines(), explained=False)


def _below(node: yaml.MappingNode, prefix: str, lines: list[str], *, explained: bool) -> Iterator[Value]:
    for key, value in node.value:
        path, comment = f"{prefix}{key.value}", _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            if comment:
                yield Value(path, "", comment)
            yield from _below(value, f"{path}.", lines, explained=bool(comment))
        elif not (comment or explained):
            raise ValueError(f"values.yaml, line {key.start_mark.line + 1}: {path} has no comment above it")
        else:
            default = yaml.safe_load(yaml.serialize(value))
            yield Value(path, json.dumps(default, ensure_ascii=False), comment)


def _comment(lines: list[str], line: int) -> str:
    said: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        said.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(said)


def readme(text: str, chart: dict[str, str]) -> str:
    def cell(words: str) -> str:
        return words.replace("|", "\\|")

    def row(value: Value) -> str:
        default = f"`{cell(value.default)}`" if value.default else ""
        return f"| `{value.key}` | {default} | {cell(value.comment)} |\n"

    return HEAD.format(**chart) + "".join(row(value) for value in values(text))


if __name__ == "__main__":
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    try:
        sys.stdout.write(readme((CHART / "values.yaml").read_text(encoding="utf-8"), described))
    except ValueError as error:
        sys.exit(str(error))

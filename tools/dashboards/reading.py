"""The dashboards as they are committed: their panels and queries, with the variables filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.paths import PROJECT

FOLDER = PROJECT / "charts/paceline/files/dashboards"
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One of a panel's queries. ``instant``: of now, else over the range."""

    board: str
    panel: str
    letter: str
    expr: str
    legend: str
    instant: bool

    @property
    def key(self) -> str:
        return f"{self.board} / {self.panel} / {self.letter}"


def load(file: Path) -> Json:
    found: Json = json.loads(file.read_text(encoding="utf-8"))
    return found


def panels(board: Json) -> list[Json]:
    """Without the rows' headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(name: str, board: Json, variables: Mapping[str, str]) -> Iterator[Query]:
    """``variables``: by name, without the dollar; Grafana's own (`__range` and the like) among them."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(
                name,
                panel["title"],
                target["refId"],
                fill(target["expr"], variables),
                target.get("legendFormat", ""),
                target.get("instant", False),
            )


def fill(text: str, variables: Mapping[str, str]) -> str:
    for variable in sorted(variables, key=len, reverse=True):  # __range_s before __range
        text = text.replace(f"${{{variable}}}", variables[variable]).replace(f"${variable}", variables[variable])
    return text

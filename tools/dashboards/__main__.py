"""`python -m tools.dashboards`: writes the dashboards as JSON into the chart."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards.compression import compression
from tools.dashboards.fleet import fleet
from tools.dashboards.job import job
from tools.dashboards.operation import operation
from tools.dashboards.reading import FOLDER

BOARDS = {"compression": compression, "fleet": fleet, "job": job, "operator": operation}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in BOARDS.items():
        text = json.dumps(make(), cls=JSONEncoder, indent=1, sort_keys=True)
        (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")

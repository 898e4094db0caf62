"""The report as files, packed so that a pod can write them beside the artifact."""

from __future__ import annotations

import base64
import gzip
import json

from paceline.api.compressionjob import CompressionJob
from paceline.render import compression_report


def packed(job: CompressionJob) -> str:
    """base64 of gzip of {file name: text}: as the variable PACELINE_FILES has it. The same for the same status."""
    report = job.status.report.wire() if job.status.report else {}
    files = {
        "compression.json": json.dumps(report, indent=2) + "\n",
        "compression.md": compression_report.markdown(job),
        "compression.html": compression_report.html(job),
    }
    return base64.b64encode(gzip.compress(json.dumps(files).encode(), mtime=0)).decode()

"""What Prometheus reads of CompressionJobs: their status."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paceline.api import COMPRESSION_KIND
from paceline.api.compressionjob import CompressionJob
from paceline.controller.series import compression
from paceline.controller.status_metrics import StatusMetrics, Theme

THEMES = [Theme(compression.FAMILIES, compression.samples)]


class CompressionMetrics(StatusMetrics[CompressionJob]):
    def __init__(
        self, jobs: Callable[[], Iterable[CompressionJob]], clock: Callable[[], float], keep_seconds: float
    ) -> None:
        """``keep_seconds``: how long the series of a job that has ended are still served."""
        super().__init__(COMPRESSION_KIND, THEMES, jobs, clock, keep_seconds)

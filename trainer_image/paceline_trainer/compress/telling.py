"""What is said while it is done: lines for the log, and reports to the operator."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from paceline_trainer.progress import Activity, Reporter, payload

# A line is printed this often at most while something goes on.
EVERY_SECONDS = 5.0


class Telling:
    """Steps of the work, each with the percentages that it goes through."""

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = Reporter(environ)
        self._clock = clock
        self._printed = clock()
        self._step: tuple[Activity, str, float, float] = ("loading", "", 0.0, 0.0)

    def say(self, words: str) -> None:
        self._printed = self._clock()
        print(words, flush=True)

    def step(self, activity: Activity, words: str, begin: float, end: float) -> None:
        """From now on this is done; ``begin`` and ``end`` in percent of all."""
        self._step = (activity, words, begin, end)
        self.say(f"{words} …")
        self._report(begin)

    def progress(self, done: float, total: float) -> None:
        """Of the step."""
        _, words, begin, end = self._step
        self._report(begin + (end - begin) * done / total)
        if self._clock() - self._printed >= EVERY_SECONDS:
            self.say(f"{words}: {done:g} of {total:g}")

    def _report(self, percent: float) -> None:
        self._reporter.report(payload(activity=self._step[0], percent=percent, eta_seconds=None, metrics={}))

    def finish(self, model: Mapping[str, Any]) -> None:
        """The final report; waits until it is delivered, or nobody can be reached."""
        self._reporter.close(
            payload(activity="evaluating", percent=100, eta_seconds=0, metrics=model["metrics"], model=model)
        )

    def close(self) -> None:
        """Where there is nothing to report at the end."""
        self._reporter.close(seconds=3.0)

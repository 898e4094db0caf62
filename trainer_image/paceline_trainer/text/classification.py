"""Texts into classes, by fine-tuning MiniLM: what the text recipes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline_trainer.recipes import TextClassification, Training
from paceline_trainer.task import Arrays, Task, stratified_split
from paceline_trainer.text.adalora import RankBudget
from paceline_trainer.text.adversarial import Attack
from paceline_trainer.text.augment import Rates, augment, minilm_synonyms
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
        self._rates = Rates(replace=params.replace, insert=params.insert, swap=params.swap, delete=params.delete)
        self._budget: RankBudget | None = None

    def splits(self) -> tuple[Arrays, Arrays]:
        ids = self._tokenized(self.texts.texts)
        train, held_out = stratified_split(self.texts.labels, EVALUATION_SHARE, SPLIT_SEED)
        if self._params.tuning == "frozen":
            found = features(Encoder(pretrained()), ids, torch.device("cpu"))
            whole = Arrays(found, self.texts.labels)
        else:
            whole = Arrays(ids, self.texts.labels, lengths(ids), torch.arange(len(ids)))
        if self._rates.replace or self._rates.insert:
            minilm_synonyms()  # seconds, which are loading's and not the first step's
        return whole[train], whole[held_out]

    def batch(self, data: Arrays, indices: Tensor, partners: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if self._rates == Rates() or data.origins is None:
            return super().batch(data, indices, partners, epoch, step)
        some = [
            augment(self.texts.texts[i], self._rates, seed=self._params.seed, epoch=epoch, index=i)
            for i in data.origins[indices].tolist()
        ]
        return self._tokenized(some), data.targets[indices]

    def tokens(self, data: Arrays) -> Tensor | None:
        return data.lengths if self._rates == Rates() else None

    def _tokenized(self, texts: Sequence[str]) -> Tensor:
        return tokenize(texts, folder() / "tokenizer.json", self._params.max_tokens)

    def embedding_attack(self, model: nn.Module) -> tuple[nn.Module, Attack] | None:
        p = self._params
        if p.attack == "none":
            return None
        embedding = cast("Any", model).encoder.backbone.get_input_embeddings()
        return embedding, Attack(p.epsilon, p.attack_steps if p.attack == "pgd" else 1)

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

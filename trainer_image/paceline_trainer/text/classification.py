"""Texts into classes, by fine-tuning MiniLM: what the text recipes have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from paceline_trainer.classifying import ClassifyingTask
from paceline_trainer.distillation import UNLABELLED, Mixture
from paceline_trainer.loaded import Loaded
from paceline_trainer.recipes import TextClassification, Training
from paceline_trainer.starting import depth, give, weights
from paceline_trainer.task import Arrays, stratified_split
from paceline_trainer.text.adalora import RankBudget
from paceline_trainer.text.adversarial import Attack
from paceline_trainer.text.augment import Rates, augment, minilm_synonyms
from paceline_trainer.text.datasets import Texts, lines
from paceline_trainer.text.encoder import FEATURES, Classifier, Encoder, Head, features, folder, keep, pretrained
from paceline_trainer.text.tokens import lengths, tokenize
from paceline_trainer.text.tuning import merge, parameter_groups, prepare

# The split never depends on the run's seed: figures of different runs stay comparable.
SPLIT_SEED, EVALUATION_SHARE = 2026, 0.2


class TextClassificationTask(ClassifyingTask):
    """Inputs are token ids (B, T), padded with 0; with the backbone frozen its features (B, 384), computed once."""

    texts: Texts

    def __init__(self, params: Training) -> None:
        assert isinstance(params, TextClassification)
        super().__init__(params)
        self._params = params
        self._rates = Rates(replace=params.replace, insert=params.insert, swap=params.swap, delete=params.delete)
        self._budget: RankBudget | None = None
        # Numbered behind the data set's own texts.
        self._more: list[str] = []
        self.features = FEATURES if params.hidden else 0

    def splits(self) -> tuple[Arrays, Arrays]:
        whole = self._read(self.texts.texts, self.texts.labels, first=0)
        train, held_out = stratified_split(self.texts.labels, EVALUATION_SHARE, SPLIT_SEED)
        if self._rates.replace or self._rates.insert:
            minilm_synonyms()  # seconds, which are loading's and not the first step's
        return self.use_labels(whole[train]), whole[held_out]

    def _read(self, texts: Sequence[str], labels: Tensor, first: int) -> Arrays:
        """As the model takes them; they are numbered from ``first`` on."""
        ids, numbers = self._tokenized(texts), torch.arange(first, first + len(texts))
        if self._params.tuning == "frozen":
            encoder = Encoder(pretrained(layers=self._params.layers))
            return Arrays(features(encoder, ids, torch.device("cpu")), labels, origins=numbers)
        return Arrays(ids, labels, lengths(ids), numbers)

    def unlabelled(self) -> Arrays:
        found = super().unlabelled()
        if not self._params.unlabelled:
            return found
        self._more = lines(Path(self._params.unlabelled))
        return found + self._read(self._more, torch.full((len(self._more),), UNLABELLED), first=len(self.texts))

    def _text(self, number: int) -> str:
        own = len(self.texts)
        return self.texts.texts[number] if number < own else self._more[number - own]

    def answers(self, teacher: Loaded, data: Arrays) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor | None]:
        assert data.origins is not None
        assert isinstance(teacher.params, TextClassification)
        # As many tokens as it has learned to read, which may be more than the student does.
        texts = [self._text(number) for number in data.origins.tolist()]
        ids = tokenize(texts, folder() / "tokenizer.json", teacher.params.max_tokens)
        model = cast("Classifier", teacher.model)
        return (model.told if self.features else model), ids, lengths(ids)

    def batch(self, data: Arrays, indices: Tensor, partners: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if self._rates == Rates() or data.origins is None:
            return super().batch(data, indices, partners, epoch, step)
        some = [
            augment(self._text(i), self._rates, seed=self._params.seed, epoch=epoch, index=i)
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
        return self._tuned(self._plain(self._params.layers), total_steps)

    def _plain(self, layers: int) -> Classifier:
        p = self._params
        return Classifier(Encoder(pretrained(p.dropout, layers)), Head(FEATURES, len(self.classes), p.dropout))

    def _tuned(self, model: Classifier, total_steps: int) -> Classifier:
        config = prepare(model, self._params, total_steps)
        if self._params.tuning == "adalora":
            self._budget = RankBudget(model.encoder.backbone, config)
        return model

    def fresh(self, total_steps: int) -> nn.Module:
        begun = self._params.start_from
        model = self._begun_from(total_steps) if begun else cast("Classifier", self.model(total_steps))
        model.tells = self.features > 0
        return model

    def _begun_from(self, total_steps: int) -> Classifier:
        p = self._params
        found = weights(p)
        model = self._plain(depth(found))
        # Adapters that it has already are trained on; what lora adds is added to whatever it has.
        adapted = p.tuning == "adapters" and any(name not in model.state_dict() for name in found)
        if adapted:
            self._tuned(model, total_steps)
        give(model, found, p.start_from)
        keep(model.encoder.backbone, p.layers)
        return model if adapted else self._tuned(model, total_steps)

    @property
    def mixture(self) -> Mixture:
        return dataclasses.replace(super().mixture, hidden=self._params.hidden)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        return parameter_groups(cast("Classifier", model), self._params)

    def before_update(self) -> None:
        if self._budget is not None:
            self._budget.before_update()

    def after_update(self, step: int) -> None:
        super().after_update(step)
        if self._budget is not None:
            self._budget.after_update(step)

    def finish(self, model: nn.Module) -> None:
        super().finish(model)
        merge(model)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._budget is None else self._budget.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._budget is not None:
            self._budget.load_state_dict(state)

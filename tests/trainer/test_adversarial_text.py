"""Adversarial embeddings: of the asked size, worse for the model, worth training on, and the same at any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paceline_trainer.text.adversarial import Attack, adversarial_backward, attacked
from tests.trainer.adversarial_text import accuracies, trained
from tests.trainer.adversarial_text_losses import ATTACKS, PLANS, Reader, losses, texts
from tests.trainer.conftest import written_by

SOME = [Attack(0.5), Attack(0.5, steps=4), Attack(0.5, steps=3, rate=0.1)]


def reader(dtype: torch.dtype = torch.float64) -> Reader:
    torch.manual_seed(0)
    return Reader().to(dtype)


def passes(model: Reader, ids: Tensor, classes: Tensor, attack: Attack, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Runs adversarial_backward; each pass's loss (passes) and change of the embeddings (passes, B, T, H)."""
    told, changes = [], []
    before = model.embedding(ids).detach()

    def loss() -> Tensor:
        told.append(losses(model(ids), classes).sum())
        changes.append(model.embedding(ids).detach() - before)
        return told[-1]

    def backward(loss: Tensor, leaves: Sequence[Tensor] | None) -> None:
        torch.autograd.backward(loss * scale, inputs=leaves)

    clean = adversarial_backward(model.embedding, attack, loss, backward, nullcontext)
    assert clean == told[0]
    return torch.stack(told).detach(), torch.stack(changes)


def by_embeddings(model: Reader, ids: Tensor, classes: Tensor, embedded: Tensor) -> Tensor:
    """The reader's summed loss of embeddings (B, T, H), written out."""
    real = (ids != 0).unsqueeze(2)
    return losses(model.out((embedded * real).sum(1) / real.sum(1)), classes).sum()


def test_fgm_is_epsilon_along_each_samples_normalised_gradient():
    model, (ids, classes) = reader(), texts(9)
    embedded = model.embedding(ids).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(by_embeddings(model, ids, classes, embedded), embedded)
    told, changes = passes(model, ids, classes, Attack(0.5))
    assert len(told) == 2
    assert not changes[0].any()
    torch.testing.assert_close(changes[1], 0.5 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None])
    torch.testing.assert_close(changes[1].flatten(1).norm(dim=1), torch.full((9,), 0.5).double())


def test_a_step_is_as_long_as_its_rate_and_the_ball_allow():
    model, (ids, classes) = reader(), texts(9)
    for rate, norm in ((0.1, 0.1), (0.7, 0.5)):
        _, changes = passes(model, ids, classes, Attack(0.5, rate=rate))
        torch.testing.assert_close(changes[1].flatten(1).norm(dim=1), torch.full((9,), norm).double())


@pytest.mark.parametrize("attack", SOME)
def test_padding_is_left_alone_even_where_the_model_looks_at_it(attack):
    ids, classes = texts(9)

    class Careless(Reader):
        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.embedding(ids).mean(1))

    torch.manual_seed(0)
    _, changes = passes(Careless().double(), ids, classes, attack)
    assert not changes[-1][ids == 0].any()
    assert (changes[-1][ids != 0].norm(dim=1) > 0).all()


@pytest.mark.parametrize("attack", SOME)
@given(seed=st.integers(0, 1000), epsilon=st.floats(0.001, 2.0))
@settings(max_examples=15, deadline=None)
def test_changes_stay_in_the_ball_and_the_loss_rises(attack, seed, epsilon):
    torch.manual_seed(seed)
    model, (ids, classes) = Reader().double(), texts(9)
    told, changes = passes(model, ids, classes, Attack(epsilon, attack.steps, attack.rate))
    assert len(told) == attack.steps + 1
    assert changes[-1].flatten(1).norm(dim=1).max() <= epsilon * (1 + 1e-9)
    assert told[-1] > told[0]


@pytest.mark.parametrize("attack", [Attack(0.5), Attack(0.5, steps=4), Attack(0.5, steps=8, rate=0.1)])
def test_where_the_loss_is_linear_the_worst_change_is_known(attack):
    model, (ids, _) = reader(), texts(6)
    direction = torch.randn(8, generator=torch.Generator().manual_seed(1)).double()

    def score(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs

    class Linear(Reader):
        def forward(self, ids: Tensor) -> Tensor:
            return (self.embedding(ids) * (ids != 0).unsqueeze(2)).sum(1) @ direction

    model = Linear().double()
    found = attacked(model, model.embedding, score, ids, ids[:, 0], attack)
    # √tokens × ε × |direction|: the change is spread evenly over a text's tokens.
    gain = (ids != 0).sum(1).sqrt() * 0.5 * direction.norm()
    torch.testing.assert_close(found, model(ids).detach() + gain)


@pytest.mark.parametrize("attack", SOME)
def test_gradients_are_those_of_the_clean_and_the_worst_form_and_no_weight_moves(attack):
    model, (ids, classes) = reader(), texts(9)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    _, changes = passes(model, ids, classes, attack)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    clean = by_embeddings(model, ids, classes, model.embedding(ids))
    worst = by_embeddings(model, ids, classes, model.embedding(ids) + changes[-1])
    for own, expected in zip(found, torch.autograd.grad(clean + worst, list(model.parameters())), strict=True):
        torch.testing.assert_close(own, expected)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_afterwards_the_embedding_is_as_before_even_if_the_model_failed():
    model, (ids, classes) = reader(), texts(4)
    before = model.embedding(ids)

    def loss() -> Tensor:
        if told:
            raise KeyError("the second pass")
        told.append(1)
        return losses(model(ids), classes).sum()

    told: list[int] = []
    with pytest.raises(KeyError):
        adversarial_backward(
            model.embedding, Attack(0.5), loss, lambda x, leaves: torch.autograd.backward(x, inputs=leaves), nullcontext
        )
    assert torch.equal(model.embedding(ids), before)


@pytest.mark.parametrize("attack", SOME)
def test_a_text_does_not_depend_on_its_batch_and_an_evaluation_leaves_no_gradients(attack):
    model, (ids, classes) = reader(), texts(9)
    whole = attacked(model, model.embedding, losses, ids, classes, attack)
    part = attacked(model, model.embedding, losses, ids[3:5], classes[3:5], attack)
    torch.testing.assert_close(whole[3:5], part)
    assert torch.equal(whole, attacked(model, model.embedding, losses, ids, classes, attack))
    assert losses(whole, classes).sum() > losses(model(ids), classes).sum()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("scale", "norm"), [(0.0, 0.0), (1e-28, 0.5)])
def test_samples_that_weigh_nothing_are_not_changed_and_those_of_little_weight_are(scale, norm):
    """In float32 the squares of gradients as small would be 0."""
    _, changes = passes(reader(torch.float32), *texts(5), Attack(0.5, steps=2), scale)
    torch.testing.assert_close(changes[-1].flatten(1).norm(dim=1), torch.full((5,), norm))


def test_a_frozen_embedding_can_be_attacked():
    model, (ids, classes) = reader(), texts(5)
    free, _ = passes(model, ids, classes, Attack(0.5))
    model.embedding.requires_grad_(False)
    frozen, _ = passes(model, ids, classes, Attack(0.5))
    assert torch.equal(free, frozen)


def test_inputs_that_do_not_pass_the_embedding_are_refused():
    model, (ids, classes) = reader(), texts(5)
    other = torch.nn.Embedding(3, 3)
    with pytest.raises(RuntimeError, match="did not use the embedding"):
        attacked(model, other, losses, ids, classes, Attack(0.5))


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"epsilon": 1.0, "steps": 0}])
def test_attacks_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="epsilon must be above 0 and steps at least 1"):
        Attack(**wrong)


def test_minilm_with_lora_is_attacked_by_its_input_embeddings():
    from paceline_trainer.recipes import TopicClassification
    from paceline_trainer.recipes.topic_classification import TopicClassificationTask
    from paceline_trainer.text.encoder import folder
    from paceline_trainer.text.tokens import tokenize

    torch.manual_seed(0)
    task = TopicClassificationTask(TopicClassification(tuning="lora", dropout=0.0))
    model = task.model()
    ids = tokenize(task.texts.texts[:4], folder() / "tokenizer.json", 24)
    ids[1:, 12:] = 0
    embedding = model.encoder.backbone.get_input_embeddings()
    found = attacked(model, embedding, task.losses, ids, task.texts.labels[:4], Attack(2.0))
    clean = task.losses(model(ids), task.texts.labels[:4])
    assert (task.losses(found, task.texts.labels[:4]) > clean).all()


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What adversarial_text_losses.py writes, by the number of processes; each is run once."""
    results: dict[int, Any] = {}

    def get(processes: int) -> Any:
        if processes not in results:
            results[processes] = written_by("adversarial_text_losses.py", processes, tmp_path_factory.mktemp("a"))
        return results[processes]

    return get


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", ATTACKS)
def test_losses_are_the_same_at_any_number_of_processes(spread, plan, kind):
    alone = spread(1)[f"ddp, {kind}"]
    assert spread(2)[f"{plan}, {kind}"] == pytest.approx(alone, rel=0, abs=1e-12)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Of a model this small: on a busy machine two would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_adversarial_training_withstands_attacks_on_real_texts():
    plain, hardened = (accuracies(trained(0, 3, kind)) for kind in ("none", "fgm"))
    assert plain["clean"] > 0.85
    assert hardened["clean"] > 0.85
    assert plain["pgd"] <= plain["fgm"]
    assert hardened["fgm"] > plain["fgm"] + 0.1
    assert hardened["pgd"] > plain["pgd"] + 0.1

"""Ways to fine-tune MiniLM: what trains, at which rates, that nothing changes at the start, and the same at two processes."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.optim import SGD

from paceline_trainer.params import ParamError, parse
from paceline_trainer.recipes import TUNINGS, TextClassification, TopicClassification
from paceline_trainer.text.adalora import RankBudget
from paceline_trainer.text.encoder import FEATURES, Classifier, Encoder, Head, features, pretrained
from paceline_trainer.text.tuning import merge, parameter_groups, prepare, trainable
from tests.trainer.conftest import written_by
from tests.trainer.text_losses import VARIANTS

HEAD = FEATURES * 5 + 5
LAYERS, WIDTH, RANK = 6, 48, 8


@pytest.fixture(scope="module")
def backbone():
    return pretrained()


@pytest.fixture
def tuned(backbone):
    """(model, peft's configuration, parameters) by way of tuning; nothing in it is shared with another test."""

    def make(tuning: str, **more):
        torch.manual_seed(0)
        params = TopicClassification(tuning=tuning, dropout=0.0, lr=0.1, weight_decay=0.5, **more)
        model = Classifier(Encoder(copy.deepcopy(backbone)), Head(FEATURES, 5, 0.0))
        return model, prepare(model, params, 30), params

    return make


def ids() -> torch.Tensor:
    found = torch.randint(1000, 2000, (3, 9), generator=torch.Generator().manual_seed(1))
    found[1, 5:] = 0
    return found


@pytest.mark.parametrize(
    ("tuning", "count"),
    [
        ("full", 22_565_376 + HEAD),
        ("layerwise", 22_565_376 + HEAD),
        ("frozen", HEAD),
        ("lora", LAYERS * 2 * 2 * FEATURES * RANK + HEAD),
        ("adapters", LAYERS * (2 * FEATURES * WIDTH + WIDTH + FEATURES) + HEAD),
    ],
)
def test_what_trains(tuned, tuning, count):
    model, _, _ = tuned(tuning)
    assert trainable(model) == count


@pytest.mark.parametrize("tuning", TUNINGS)
def test_outputs_are_the_pretrained_ones_at_the_start(tuned, tuning):
    with torch.no_grad():
        plain, found = tuned("full")[0].eval()(ids()), tuned(tuning)[0].eval()(ids())
    assert torch.allclose(found, plain, atol=1e-6)


def test_each_layer_has_a_lower_rate_than_the_one_above_it_and_norms_no_decay(tuned):
    model, _, params = tuned("layerwise", layer_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates, decays = {}, {}
    for group in parameter_groups(model, params):
        for parameter in group["params"]:
            rates[names[id(parameter)]], decays[names[id(parameter)]] = group["lr"], group["weight_decay"]
    assert len(rates) == len(names)
    assert rates["head.1.weight"] == 0.1
    assert rates["encoder.backbone.encoder.layer.5.output.dense.weight"] == pytest.approx(0.05)
    assert rates["encoder.backbone.encoder.layer.0.output.dense.weight"] == pytest.approx(0.1 * 0.5**6)
    assert rates["encoder.backbone.embeddings.word_embeddings.weight"] == pytest.approx(0.1 * 0.5**7)
    assert decays["head.1.weight"] == 0.5
    assert decays["encoder.backbone.encoder.layer.0.output.LayerNorm.weight"] == 0
    assert {group["lr"] for group in parameter_groups(*(tuned("full")[::2]))} == {0.1}


def step(model, optimizer) -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(ids()), torch.tensor([0, 1, 2])).backward()
    optimizer.step()


@pytest.mark.parametrize("tuning", ["lora", "adalora"])
def test_a_merged_model_is_a_plain_one_and_says_the_same(tuned, tuning):
    model, _, params = tuned(tuning)
    plain = tuned("full")[0]
    optimizer = SGD(parameter_groups(model, params))
    for _ in range(3):
        step(model, optimizer)
    model.eval()
    with torch.no_grad():
        before = model(ids())
        assert not torch.allclose(before, plain.eval()(ids()), atol=1e-3), "it has learned"
        merge(model)
        assert set(model.state_dict()) == set(plain.state_dict())
        plain.load_state_dict(model.state_dict())
        assert torch.allclose(plain(ids()), before, atol=1e-5)


def test_adalora_gives_its_ranks_up_step_by_step(tuned):
    model, config, params = tuned("adalora")
    budget = RankBudget(model.encoder.backbone, config)
    optimizer = torch.optim.AdamW(parameter_groups(model, params), lr=0.01)
    matrices, left = LAYERS * 6, []
    for number in range(1, 31):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(ids()), torch.tensor([0, 1, 2])).backward()
        budget.before_update()
        optimizer.step()
        budget.after_update(number)
        left.append(budget.ranks())
    assert left[0] == matrices * 12, "it begins with half as much again"
    assert left[-1] == matrices * RANK
    assert left == sorted(left, reverse=True)
    # What a checkpoint keeps is enough to go on.
    other = RankBudget(model.encoder.backbone, config)
    other.load_state_dict(copy.deepcopy(budget.state_dict()))
    assert other.state_dict().keys() == budget.state_dict().keys()
    assert all(torch.equal(v, other.state_dict()["ipt"][k]) for k, v in budget.state_dict()["ipt"].items())


def test_the_penalty_of_adalora_makes_factors_orthogonal(tuned):
    model, config, _ = tuned("adalora")
    budget = RankBudget(model.encoder.backbone, config)
    factors = [p for name, p in model.named_parameters() if "lora_A" in name]

    @torch.no_grad()
    def distance() -> float:
        return sum(float((p @ p.T - torch.eye(len(p))).norm()) for p in factors)

    begun = distance()
    for _ in range(5):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        budget.before_update()
        with torch.no_grad():
            for p in factors:
                p.sub_(20 * p.grad)
    assert distance() < 0.9 * begun


def test_features_are_those_that_the_encoder_makes_text_by_text(backbone):
    encoder = Encoder(backbone)
    found = features(encoder, ids(), torch.device("cpu"), batch_size=2)
    with torch.no_grad():
        alone = torch.cat([encoder(ids()[i : i + 1]) for i in range(3)])
    assert torch.allclose(found, alone, atol=1e-5)
    model = Classifier(encoder, Head(FEATURES, 5, 0.0)).eval()
    with torch.no_grad():
        assert torch.allclose(model(found), model(ids()), atol=1e-5)


def test_what_cannot_be_is_refused():
    for params, why in (
        ({"tuning": "lora", "parallel": "fsdp"}, "every process holds it"),
        ({"tuning": "adalora", "precision": "fp16"}, "take bf16"),
        ({"tuning": "frozen", "swap": 0.1}, "read once"),
        ({"tuning": "frozen", "attack": "fgm"}, "read once"),
        ({"attack": "pgd", "precision": "fp16"}, "take bf16"),
        ({"tuning": "prompt"}, "must be one of full"),
        ({"tensor_parallel": 2}, "must be one of 1"),
    ):
        with pytest.raises(ParamError, match=why):
            parse(TopicClassification, params)
    assert issubclass(TopicClassification, TextClassification)
    assert dataclasses.is_dataclass(TopicClassification)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    def get(processes: int):
        return written_by("text_losses.py", processes, tmp_path_factory.mktemp("few"))

    return get


def test_two_processes_reproduce_one_processs_losses(few):
    alone, together = few(1), few(2)
    assert set(alone) == set(VARIANTS)
    for variant, found in alone.items():
        assert len(found["losses"]) == 6
        assert together[variant]["losses"] == pytest.approx(found["losses"], rel=0, abs=1e-9), variant
        assert together[variant]["norm"] == pytest.approx(found["norm"], rel=1e-9), variant
    plain = alone["full"]["losses"]
    assert alone["fgm"]["losses"][0] == pytest.approx(plain[0]), "the loss that is told is the clean one"
    assert alone["fgm"]["norm"] != alone["full"]["norm"]
    assert alone["augmented"]["losses"][0] != plain[0]

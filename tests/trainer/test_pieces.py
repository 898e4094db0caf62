"""Sharding, parameters, the command line, and an end in the middle."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sklearn.datasets import load_diabetes, load_digits

from paceline_trainer import recipes, run
from paceline_trainer.data import batches_per_epoch, epoch_order, global_batches, packaged, position, shard
from paceline_trainer.params import ParamError, parse, schema
from paceline_trainer.schemas import all_schemas
from paceline_trainer.task import stratified_split
from tests.trainer.conftest import ROOT, environment


@given(
    count=st.integers(1, 300),
    batch=st.integers(1, 64),
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_every_sample_is_trained_on_once_an_epoch_at_any_world_size(count, batch, size, seed, epoch):
    batches = global_batches(epoch_order(count, seed, epoch), batch)
    seen = torch.cat([shard(b, rank, size) for b in batches for rank in range(size)])
    assert sorted(seen.tolist()) == list(range(count))


def test_the_order_is_of_seed_and_epoch_alone():
    assert epoch_order(50, 1, 2).tolist() == epoch_order(50, 1, 2).tolist()
    assert epoch_order(50, 1, 2).tolist() != epoch_order(50, 1, 3).tolist() != epoch_order(50, 2, 3).tolist()


@given(count=st.integers(1, 300), batch=st.integers(1, 64), step=st.integers(0, 400))
def test_a_position_leaves_exactly_the_samples_of_the_steps_to_come(count, batch, step):
    at = position(step, count, batch)
    assert at.step == at.epoch * batches_per_epoch(count, batch) + at.batch
    left = global_batches(epoch_order(count, 3, at.epoch), batch)[at.batch :]
    assert at.samples + sum(len(b) for b in left) == (at.epoch + 1) * count


def test_the_packaged_data_are_scikit_learns():
    digits = packaged("digits.csv.gz", delimiter=",")
    assert np.array_equal(digits[:, :-1], load_digits().data)
    assert np.array_equal(digits[:, -1], load_digits().target)
    features, target = load_diabetes(return_X_y=True, scaled=False)
    assert np.array_equal(packaged("diabetes_data_raw.csv.gz"), features)
    assert np.array_equal(packaged("diabetes_target.csv.gz"), target)


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_a_stratified_split_is_a_partition_that_keeps_the_shares(labels):
    train, held_out = stratified_split(torch.tensor(labels), 0.2, 0)
    assert sorted(train.tolist() + held_out.tolist()) == list(range(len(labels)))
    for label in set(labels):
        assert sum(labels[i] == label for i in held_out.tolist()) == round(labels.count(label) * 0.2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, ["params.epoch", "epochs"]),
        ({"epochs": 0}, ["params.epochs", "at least 1"]),
        ({"epochs": "3"}, ["params.epochs", "integer"]),
        ({"epochs": True}, ["params.epochs", "integer"]),
        ({"optimizer": "lion"}, ["params.optimizer", "adamw, sgd"]),
        ({"pipeline_stages": 3}, ["params.pipeline_stages", "1, 2, 4"]),
        ({"tensor_parallel": 2}, ["params.tensor_parallel", "parallel: fsdp"]),
        ({"aggregation": "powersgd", "parallel": "fsdp"}, ["params.aggregation", "parallel: ddp"]),
        ({"accumulate": 2, "pipeline_stages": 2}, ["params.accumulate", "microbatches"]),
    ],
)
def test_wrong_parameters_are_named(values, words):
    with pytest.raises(ParamError) as said:
        parse(recipes.ImageClassification, values)
    assert all(word in str(said.value) for word in words)


@pytest.mark.parametrize("name", sorted(recipes.PARAMS))
def test_the_published_schema_is_valid_and_takes_the_defaults(name):
    published = all_schemas()[name]
    Draft202012Validator.check_schema(published)
    defaults = dataclasses.asdict(recipes.PARAMS[name]())
    Draft202012Validator(published).validate(defaults)
    assert parse(recipes.PARAMS[name], defaults) == recipes.PARAMS[name]()
    assert all(rule["description"] for rule in schema(recipes.PARAMS[name])["properties"].values())


def test_what_may_change_between_attempts_are_parameters_of_every_recipe():
    common = {field.name for field in dataclasses.fields(recipes.Training)}
    assert common >= recipes.MAY_CHANGE


def test_schemas_are_published_without_torch():
    program = "import sys, paceline_trainer.schemas as s; s.all_schemas(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "nope"], "image-classification, linear-regression"),
        (["--recipe", "linear-regression", "--params", "{"], "not JSON"),
        (["--recipe", "linear-regression", "--params", '{"nope": 1}'], "params.nope: unknown"),
        (["--schema", "nope"], "image-classification, linear-regression"),
    ],
)
def test_the_command_line_refuses_with_exit_code_2(arguments, words):
    done = subprocess.run(
        [sys.executable, "-m", "paceline_trainer.run", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize("name", sorted(recipes.PARAMS))
def test_the_command_line_prints_the_published_schema(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run", "--schema", name])
    run.main()
    assert json.loads(capsys.readouterr().out) == all_schemas()[name]


@pytest.mark.parametrize("name", sorted(recipes.PARAMS))
def test_the_page_names_every_parameter_and_its_default(name):
    page = (ROOT / "docs/trainer.md").read_text(encoding="utf-8")
    for param, rule in all_schemas()[name]["properties"].items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{param}` |")), "")
        default = json.dumps(rule["default"]).strip('"') or "(empty)"
        assert default in row.split("|")[2], f"docs/trainer.md: {param}"
        assert rule["description"].rstrip(".") in row, f"docs/trainer.md: {param}"


def test_sigterm_ends_it_at_once_without_a_model(tmp_path):
    command = [sys.executable, "-m", "paceline_trainer.run", "--recipe", "image-classification"]
    command += ["--params", json.dumps({"epochs": 1000}), "--output", str(tmp_path / "out")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("step="):
            break
    child.send_signal(signal.SIGTERM)
    said = child.stdout.read()
    assert child.wait(30) == 143
    assert "terminated by SIGTERM" in said
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")] == ["out/tensorboard"], (
        "curves, and no model"
    )

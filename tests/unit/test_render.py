"""Merging the user's template, and quantities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.api.quantities import amount
from paceline.render.merge import merge
from paceline.render.pods import Installation, worker

NAMES = st.text("abc", min_size=1, max_size=2)


def test_the_users_container_is_merged_by_name_and_wins():
    base = {
        "containers": [
            {"name": "trainer", "image": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}
        ]
    }
    over = {
        "containers": [
            {"name": "trainer", "env": [{"name": "X", "valueFrom": {"fieldRef": {}}}]},
            {"name": "side", "image": "b"},
        ]
    }
    merged = merge(base, over)
    trainer, side = merged["containers"]
    assert trainer["image"] == "a"
    assert trainer["env"] == [{"name": "X", "valueFrom": {"fieldRef": {}}}, {"name": "Y", "value": "2"}]
    assert side["name"] == "side"
    assert base["containers"][0]["env"][0] == {"name": "X", "value": "1"}, "nothing is changed in place"


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}),
        ({"tolerations": [1]}, {"tolerations": [2]}, {"tolerations": [2]}),
        (
            {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]},
            {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]},
            {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]},
        ),
    ],
)
def test_merge(base, over, merged):
    assert merge(base, over) == merged


@given(base=st.lists(NAMES, unique=True, max_size=5), over=st.lists(NAMES, unique=True, max_size=5))
def test_lists_by_name_keep_every_item_once(base, over):
    merged = merge({"volumes": [{"name": n} for n in base]}, {"volumes": [{"name": n} for n in over]})["volumes"]
    assert sorted(v["name"] for v in merged) == sorted(set(base) | set(over))


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("1Gi", 2**30),
        ("512Mi", 2**29),
        (1024, 1024),
        ("1.5Gi", 3 * 2**29),
        ("2G", 2 * 10**9),
        ("100m", 0),
        ("0", 0),
        ("1e3", 1000),
        ("x", None),
    ],
)
def test_quantities(quantity, value):
    assert amount(quantity) == value


@pytest.mark.parametrize(
    ("template", "served"),
    [
        ({}, True),
        ({"hostNetwork": True}, False),
        ({"containers": [{"name": "trainer", "ports": [{"containerPort": 9090, "name": "metrics"}]}]}, False),
        ({"containers": [{"name": "exporter", "ports": [{"containerPort": 9090, "name": "metrics"}]}]}, True),
        ({"containers": [{"name": "trainer", "ports": [{"containerPort": 6006, "name": "board"}]}]}, True),
    ],
)
def test_prometheus_finds_the_trainer_where_no_other_has_its_port(job_of, template, served):
    pod = worker(job_of(template={"spec": template}), Installation("trainer:1"), attempt=1, index=0, nnodes=(2, 2))
    trainer = next(c for c in pod["spec"]["containers"] if c["name"] == "trainer")
    ours = {"containerPort": 9400, "name": "metrics"} in trainer.get("ports", [])
    told = {"name": "PACELINE_METRICS_PORT", "value": "9400"} in trainer["env"]
    assert (ours, told) == (served, served)
    assert [port["name"] for port in trainer.get("ports", [])].count("metrics") <= 1

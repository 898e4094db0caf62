"""Merging the user's template, quantities, and which gangs have a disruption budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.api.quantities import amount
from paceline.render import pods
from paceline.render.guards import disruption_budget
from paceline.render.merge import merge
from paceline.render.pods import Installation, worker
from tests.unit.conftest import make_job

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
    ("spec", "name", "least"),
    [
        ({"nodes": 1}, None, None),
        ({"nodes": 2}, "job-job-uid-min-1", 1),
        ({"nodes": 8}, "job-job-uid-min-7", 7),
        ({"nodes": 1, "elastic": {}}, None, None),
        ({"nodes": 1, "elastic": {"maxNodes": 2}}, "job-job-uid-min-1", 1),
        ({"nodes": 1, "elastic": {"allowedNodes": [1, 4]}}, "job-job-uid-min-1", 1),
        ({"nodes": 4, "elastic": {"minNodes": 3}}, "job-job-uid-min-3", 3),
        ({"nodes": 4, "elastic": {"minNodes": 4}}, "job-job-uid-min-4", 4),
    ],
)
def test_a_budget_for_whoever_may_have_more_than_one_worker(spec, name, least):
    budget = disruption_budget(make_job(**spec))
    assert (budget and budget["metadata"]["name"]) == name
    assert budget is None or budget["spec"]["minAvailable"] == least


SIZES = st.tuples(st.integers(2, 5), st.sampled_from([None, 1, 2, 3]))


@settings(max_examples=100)
@given(before=SIZES, after=SIZES)
def test_no_worker_is_ever_in_two_budgets(before, after):
    """Though one of another size may still be there, from before: with two the API server refuses every eviction."""
    jobs = [
        make_job(nodes=nodes, **({} if least is None else {"elastic": {"minNodes": min(least, nodes)}}))
        for nodes, least in (before, after)
    ]
    budgets = {b["metadata"]["name"]: b["spec"]["selector"] for b in map(disruption_budget, jobs)}
    labels = pods.worker(jobs[1], pods.Installation("x"), attempt=2, index=0, nnodes=(4, 4))["metadata"]["labels"]
    holds = [all(labels.get(k) == v for k, v in selector["matchLabels"].items()) for selector in budgets.values()]
    assert sum(holds) == 1


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

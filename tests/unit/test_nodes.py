"""Which nodes are gone, and which are about to go."""

from __future__ import annotations

import pytest

from paceline.plan.nodes import TERMINATION_TAINTS, leaving, lost_at
from paceline.plan.observed import NodeRecord, PodRecord

NOW = 1000.0


def pod(node="n1"):
    return PodRecord("ns", "p", "u", 1, "job", "uid", 1, "worker", 0, "Running", 0.0, node=node)


def node(ready=True, taints=(), since=NOW):
    return NodeRecord("n1", 1, ready=ready, unschedulable=False, ready_since=since, taints=taints)


@pytest.mark.parametrize(
    ("found", "when"),
    [
        (node(), None),
        (node(ready=False), NOW + 15),
        (None, 0.0),
        (node(taints=("node.kubernetes.io/out-of-service",)), 0.0),
        (node(taints=("node.kubernetes.io/unschedulable",)), None),
    ],
)
def test_when_a_node_counts_as_lost(found, when):
    assert lost_at(pod(), {"n1": found} if found else {}, 15) == when


def test_a_pod_that_waits_for_a_node_has_lost_none():
    assert lost_at(pod(node=""), {}, 15) is None
    assert not leaving(pod(node=""), {})


@pytest.mark.parametrize("taint", sorted(TERMINATION_TAINTS))
def test_every_termination_notice_is_known(taint):
    assert leaving(pod(), {"n1": node(taints=(taint,))})


@pytest.mark.parametrize("found", [node(), node(taints=("node.kubernetes.io/unschedulable", "nvidia.com/gpu"))])
def test_a_cordon_alone_moves_nothing(found):
    assert not leaving(pod(), {"n1": found})


def test_a_node_that_does_not_answer_cannot_be_left_in_order():
    assert not leaving(pod(), {"n1": node(ready=False, taints=("karpenter.sh/disrupted",))})

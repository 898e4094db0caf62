"""Which nodes are gone, and which are about to go."""

from __future__ import annotations

from collections.abc import Mapping

from paceline.plan.observed import NodeRecord, PodRecord

# Taints that say: this machine goes away soon. Whoever sets one expects its pods to be moved, not to be waited for.
TERMINATION_TAINTS = frozenset(
    {
        "aws-node-termination-handler/spot-itn",
        "aws-node-termination-handler/scheduled-maintenance",
        "aws-node-termination-handler/rebalance-recommendation",
        "cloud.google.com/impending-node-termination",
        "kubernetes.azure.com/scheduled-event",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
        "ToBeDeletedByClusterAutoscaler",
        "node.cloudprovider.kubernetes.io/shutdown",
    }
)
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def lost_at(pod: PodRecord, nodes: Mapping[str, NodeRecord], detect_seconds: int) -> float | None:
    """Unix time from which a pod's node counts as lost (0: it is gone from the API). None while it answers."""
    if not pod.node:
        return None
    node = nodes.get(pod.node)
    if node is None or OUT_OF_SERVICE in node.taints:
        return 0.0
    return None if node.ready else node.ready_since + detect_seconds


def leaving(pod: PodRecord, nodes: Mapping[str, NodeRecord]) -> bool:
    """Has the pod's node, which still answers, got its termination notice?"""
    node = nodes.get(pod.node)
    return node is not None and node.ready and not TERMINATION_TAINTS.isdisjoint(node.taints)

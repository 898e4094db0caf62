"""What a pod costs: its node's price, and its share of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paceline.cost.lookup import ANNOTATION_PRICE, Amounts, host, price
from paceline.cost.prices import parse

BOOK = parse(
    "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region,AvailabilityZone,asOf,source,purchasePrice,lifeYears\n"
    "p5,H100,8,55.04,16,us,,2026-11-23,list,,\n"
    "p5,H100,8,60,,us,us-b,2026-11-23,list,,\n"
    "cpu,,,2,,,,2026-11-23,list,,\n"
    "NVIDIA-H100-80GB-HBM3,H100,8,,,,,2026-11-23,ours,350400,4\n"
)
TYPE, REGION, ZONE = (
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)
HAS = {"nvidia.com/gpu": "8", "cpu": "190", "memory": "2000Gi", "pods": "110"}
ALL, ONE = Amounts(8, Decimal(100), Decimal(2**40)), Amounts(1, Decimal(4), Decimal(2**33))
P5 = {TYPE: "p5", REGION: "us"}


@pytest.mark.parametrize(
    ("labels", "asked", "pod", "usd"),
    [
        (P5, None, ALL, "55.04"),
        (P5, None, ONE, "6.88"),
        (P5, "spot", ONE, "2"),
        (P5 | {ZONE: "us-b"}, None, ALL, "60"),
        (P5 | {ZONE: "us-a"}, None, ALL, "55.04"),
        (P5 | {"karpenter.sh/capacity-type": "spot"}, None, ALL, "16"),
        (P5 | {"eks.amazonaws.com/capacityType": "SPOT"}, None, ALL, "16"),
        (P5 | {"cloud.google.com/gke-spot": "true"}, None, ALL, "16"),
        (P5 | {"cloud.google.com/gke-provisioning": "standard"}, "spot", ALL, "55.04"),
        (P5 | {"kubernetes.azure.com/scalesetpriority": "spot"}, "on-demand", ALL, "16"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, None, ALL, "10"),
        ({TYPE: "cpu"}, None, Amounts(0, Decimal(19), Decimal(0)), "0.2"),
        ({TYPE: "cpu"}, None, Amounts(0, Decimal(19), Decimal(1000 * 2**30)), "1"),
        ({TYPE: "cpu"}, None, Amounts(0, Decimal(500), Decimal(0)), "2"),
    ],
)
def test_rates_by_labels_and_share(labels, asked, pod, usd):
    found = price(pod, host(labels, {}, HAS), BOOK, asked)
    assert found.usd == Decimal(usd), found.why
    assert found.as_of == "2026-11-23"


def test_a_spot_pod_knows_what_it_would_cost_on_demand():
    found = price(ONE, host(P5, {}, HAS), BOOK, "spot")
    assert (found.usd, found.on_demand) == (2, Decimal("6.88"))
    assert found.source == "default: p5 us, spot, list"


@pytest.mark.parametrize(
    ("labels", "annotations", "asked", "pod", "known"),
    [
        (P5, {}, None, ONE, ("H100", "on-demand")),
        (P5, {}, "spot", ONE, ("H100", "spot")),
        (P5 | {"nvidia.com/gpu.product": "other"}, {}, None, ONE, ("H100", "on-demand")),
        (P5, {}, None, Amounts(0, Decimal(4), Decimal(0)), ("", "on-demand")),
        ({"nvidia.com/gpu.product": "A10"}, {ANNOTATION_PRICE: "8"}, None, ONE, ("A10", "")),
        ({"karpenter.sh/capacity-type": "spot"}, {ANNOTATION_PRICE: "8"}, None, ONE, ("", "spot")),
    ],
)
def test_the_device_and_how_it_is_had_as_far_as_they_are_known(labels, annotations, asked, pod, known):
    found = price(pod, host(labels, annotations, HAS), BOOK, asked)
    assert (found.gpu_model, found.capacity) == known


def test_the_annotation_wins_and_needs_no_book():
    found = price(ONE, host(P5, {ANNOTATION_PRICE: "8"}, HAS), None, None)
    assert (found.usd, found.source) == (1, "annotation paceline.dev/price-per-hour")


@pytest.mark.parametrize(
    ("node", "book", "asked", "why"),
    [
        (None, BOOK, None, "not known any more"),
        (
            host(P5, {}, HAS),
            None,
            None,
            "there is no price book 'default': add it to the chart's priceBooks, or annotate",
        ),
        (host({TYPE: "p4", REGION: "eu"}, {}, HAS), BOOK, None, "'default' has no row for p4 in eu"),
        (host({TYPE: "p5", REGION: "eu"}, {}, HAS), BOOK, None, "no row for p5 in eu"),
        (host({}, {}, HAS), BOOK, None, "or annotate the node with paceline.dev/price-per-hour"),
        (host({TYPE: "cpu"}, {}, HAS), BOOK, "spot", "no spot price for cpu"),
        (host(P5, {ANNOTATION_PRICE: "cheap"}, HAS), BOOK, None, "=cheap is no price: write USD an hour"),
        (host(P5, {ANNOTATION_PRICE: "-1"}, HAS), BOOK, None, "=-1 is no price"),
        (host(P5, {ANNOTATION_PRICE: "NaN"}, HAS), BOOK, None, "=NaN is no price"),
        (host(P5, {}, {}), BOOK, None, "does not say how much of it"),
    ],
)
def test_an_unknown_price_says_why_and_still_counts_devices(node, book, asked, why):
    found = price(ALL, node, book, asked)
    assert found.usd is None
    assert why in found.why
    assert found.gpus == 8

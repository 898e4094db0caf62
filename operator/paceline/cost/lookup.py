"""What a pod costs an hour: the price of its node, by the node's labels, times the share of the node that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from paceline.api.quantities import exact
from paceline.cost.prices import Machine, Purchase

ANNOTATION_PRICE = "paceline.dev/price-per-hour"
INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
GPU_PRODUCT = ("nvidia.com/gpu.product", "amd.com/gpu.product-name")
REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
# Label -> value (lower case) -> how the node is had: Karpenter, EKS, GKE (two labels), AKS, and a word of one's own.
CAPACITY: dict[str, dict[str, Purchase]] = {
    "paceline.dev/capacity-type": {"on-demand": "on-demand", "spot": "spot", "owned": "owned"},
    "karpenter.sh/capacity-type": {"on-demand": "on-demand", "spot": "spot"},
    "eks.amazonaws.com/capacitytype": {"on_demand": "on-demand", "spot": "spot"},
    "cloud.google.com/gke-provisioning": {"standard": "on-demand", "spot": "spot", "preemptible": "spot"},
    "cloud.google.com/gke-spot": {"true": "spot"},
    "cloud.google.com/gke-preemptible": {"true": "spot"},
    "kubernetes.azure.com/scalesetpriority": {"regular": "on-demand", "spot": "spot"},
}
_OR_ANNOTATE = f"or annotate the node with {ANNOTATION_PRICE}"
# Rates are kept to a billionth of a dollar an hour: a machine's whole life then rounds by less than a thousandth of a cent.
NANO = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class Amounts:
    """Devices (whole ones of any vendor), cores and bytes: of a node what it has for pods, of a pod what it reserves."""

    gpus: int = 0
    cpus: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Host:
    """Of a node, what its price follows from."""

    instance_type: str = ""
    gpu_product: str = ""
    region: str = ""
    zone: str = ""
    # How it is had; empty where no label says.
    capacity: Purchase | None = None
    # The annotation that overrides every book, USD an hour of the whole node.
    override: str = ""
    has: Amounts = Amounts()


@dataclass(frozen=True, slots=True)
class Price:
    """USD an hour of one pod, for its share of its node; ``usd`` is None where it is unknown, and ``why`` says why."""

    usd: Decimal | None = None
    # What the same share costs on demand, where the node is a spot one and both prices are known.
    on_demand: Decimal | None = None
    gpus: int = 0
    cpus: Decimal = Decimal(0)
    source: str = ""
    as_of: str = ""
    # Of the pod's devices, as the book or the node's label calls them; and how the node is had. Empty: unknown.
    gpu_model: str = ""
    capacity: str = ""
    why: str = ""


def host(labels: Mapping[str, str], annotations: Mapping[str, str], allocatable: Mapping[str, str]) -> Host:
    return Host(
        instance_type=_first(labels, INSTANCE_TYPE),
        gpu_product=_first(labels, GPU_PRODUCT),
        region=_first(labels, REGION),
        zone=_first(labels, ZONE),
        capacity=_capacity(labels),
        override=annotations.get(ANNOTATION_PRICE, ""),
        has=amounts(allocatable),
    )


def amounts(resources: Mapping[str, str | int]) -> Amounts:
    """Of a resource list. Devices are what a device plugin calls VENDOR/gpu."""
    gpus = sum(int(exact(n) or 0) for name, n in resources.items() if name.endswith("/gpu"))
    return shared(gpus, exact(resources.get("cpu", 0)) or Decimal(0), exact(resources.get("memory", 0)) or Decimal(0))


@lru_cache(4096)
def shared(gpus: int, cpus: Decimal, memory: Decimal) -> Amounts:
    """One object for all pods that reserve the same: a record of its own for each would be half as large again."""
    return Amounts(gpus, cpus, memory)


def price(
    pod: Amounts, node: Host | None, book: Sequence[Machine] | None, asked: Purchase | None, name: str = "default"
) -> Price:
    """``node`` None: it is gone; ``book`` None: there is none of that ``name``. ``asked``: how nodes are had that do not say."""
    unknown = Price(gpus=pod.gpus, cpus=pod.cpus)
    if node is None:
        return replace(unknown, why="the pod's node is not known any more")
    model = node.gpu_product if pod.gpus else ""
    unknown = replace(unknown, gpu_model=model, capacity=node.capacity or asked or "")
    share = _share(pod, node.has)
    if share is None:
        return replace(unknown, why="the node does not say how much of it is for pods (status.allocatable)")
    if node.override:
        try:
            whole = Decimal(node.override)
        except InvalidOperation:
            whole = Decimal("NaN")
        if not (whole.is_finite() and whole >= 0):
            return replace(
                unknown, why=f"annotation {ANNOTATION_PRICE}={node.override} is no price: write USD an hour, as 12.5"
            )
        return replace(unknown, usd=_rate(whole, share), source=f"annotation {ANNOTATION_PRICE}")
    if book is None:
        return replace(
            unknown, why=f"there is no price book {name!r}: add it to the chart's priceBooks, {_OR_ANNOTATE}"
        )
    machine = _machine(node, book)
    if machine is None:
        what = node.instance_type or node.gpu_product
        if not what:
            return replace(unknown, why=f"the node has no label {INSTANCE_TYPE[0]}: add it, {_OR_ANNOTATE}")
        place = f" in {node.region}" if node.region else ""
        return replace(unknown, why=f"price book {name!r} has no row for {what}{place}: add one, {_OR_ANNOTATE}")
    how: Purchase = node.capacity or asked or _only(machine) or "on-demand"
    if how not in machine.rates:
        return replace(
            unknown, why=f"price book {name!r} has no {how} price for {machine.name}: add it, {_OR_ANNOTATE}"
        )
    on_demand = machine.rates.get("on-demand") if how == "spot" else None
    return Price(
        _rate(machine.rates[how], share),
        None if on_demand is None else _rate(on_demand, share),
        pod.gpus,
        pod.cpus,
        f"{name}: {machine.name}, {how}, {machine.source}",
        machine.as_of.isoformat(),
        (machine.accelerator or model) if pod.gpus else "",
        how,
    )


def _first(labels: Mapping[str, str], names: Sequence[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _capacity(labels: Mapping[str, str]) -> Purchase | None:
    lower = {name.lower(): value.lower() for name, value in labels.items()}
    return next((how[lower[label]] for label, how in CAPACITY.items() if lower.get(label) in how), None)


def _share(pod: Amounts, node: Amounts) -> Decimal | None:
    """The largest of its shares of devices, cores and memory: who takes all memory leaves the rest to nobody."""
    pairs = [(Decimal(pod.gpus), Decimal(node.gpus)), (pod.cpus, node.cpus), (pod.memory, node.memory)]
    if not any(has for _, has in pairs):
        return None
    return min(max((asks / has for asks, has in pairs if has), default=Decimal(0)), Decimal(1))


def _machine(node: Host, book: Sequence[Machine]) -> Machine | None:
    """The row of the node's type (its GPU product, where it has no type), the one that names its zone before its region's
    before one for everywhere."""
    type_ = node.instance_type or node.gpu_product
    fits = [
        m for m in book
        if m.instance_type == type_ and m.region in ("", node.region) and m.zone in ("", node.zone)
    ]  # fmt: skip
    return max(fits, key=lambda m: (bool(m.zone), bool(m.region)), default=None)


def _only(machine: Machine) -> Purchase | None:
    return next(iter(machine.rates)) if len(machine.rates) == 1 else None


def _rate(whole: Decimal, share: Decimal) -> Decimal:
    return (whole * share).quantize(NANO)

"""A user's pod template over the operator's pod: objects merge key by key, lists by the items' names, the user wins."""

from __future__ import annotations

from typing import Any

# By what a list's items are told apart, as Kubernetes' own strategic merge does; other lists are replaced whole.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
}


def merge(base: Any, over: Any, *, field: str = "") -> Any:
    """``over`` merged over ``base``; neither is changed."""
    if isinstance(base, dict) and isinstance(over, dict):
        out = dict(base)
        for name, value in over.items():
            out[name] = merge(base[name], value, field=name) if name in base else value
        return out
    if isinstance(base, list) and isinstance(over, list) and field in _MERGE_KEYS:
        return _merge_lists(base, over, _MERGE_KEYS[field])
    return over


def _merge_lists(base: list[Any], over: list[Any], by: str) -> list[Any]:
    out = list(base)
    places = {item.get(by): i for i, item in enumerate(base)}
    for item in over:
        place = places.get(item.get(by))
        if place is None:
            out.append(item)
        elif (
            by == "name" and "value" in base[place]
        ):  # a variable is replaced whole: value and valueFrom exclude each other
            out[place] = item
        else:
            out[place] = merge(base[place], item)
    return out

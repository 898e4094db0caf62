"""From the types to structural OpenAPI, the dialect of JSON Schema that CRDs speak."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

# What a structural schema takes over from JSON Schema as it is.
_KEPT = (
    "type", "format", "enum", "default", "pattern", "minimum", "maximum",
    "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
)  # fmt: skip


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of a type: references inlined, unions of null dropped, descriptions kept."""
    root = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(root, root.get("$defs", {}))


def _convert(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[1]]
        return _convert({**target, **{k: v for k, v in node.items() if k != "$ref"}}, defs)
    if "anyOf" in node:
        return _union(node, defs)
    out: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    out |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if description := node.get("description"):
        out["description"] = " ".join(description.split())
    if "const" in node:
        out["enum"] = [node["const"]]
    if "items" in node:
        out["items"] = _convert(node["items"], defs)
    if out.get("type") == "object":
        _object(node, out, defs)
    return out


def _union(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Optional[X] is X that may be absent; int | str is Kubernetes' int-or-string. No other union is structural."""
    shared = {key: value for key, value in node.items() if key not in ("anyOf", "default") or value is not None}
    del shared["anyOf"]
    choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    if {choice.get("type") for choice in choices} == {"integer", "string"}:
        return {**_convert(shared, defs), "x-kubernetes-int-or-string": True}
    (only,) = choices
    return _convert({**only, **shared}, defs)


def _object(node: dict[str, Any], out: dict[str, Any], defs: dict[str, Any]) -> None:
    if "properties" in node:
        out["properties"] = {name: _convert(child, defs) for name, child in node["properties"].items()}
        # A field with a default is filled in by the API server, so only the others are required.
        if required := node.get("required"):
            out["required"] = required
        if "default" in out:
            out["default"] = {}  # the API server fills in the fields' own defaults
        if node.get("additionalProperties") is True:
            out["x-kubernetes-preserve-unknown-fields"] = True
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(node["additionalProperties"], defs)

"""What every API type shares: frozen, camelCase on the wire, unknown fields dropped as the API server drops them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """The object as the API server stores it: camelCase, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


_NOT_KEPT: set[str] = set()


def slim(found: Any) -> None:
    """Pydantic keeps of every object which fields were given, in a set of up to 728 bytes: of a job more than two fifths of its
    memory, and nobody asks it of one that is kept."""
    if isinstance(found, ApiModel):
        object.__setattr__(found, "__pydantic_fields_set__", _NOT_KEPT)
        for value in found.__dict__.values():
            slim(value)
    elif isinstance(found, list):
        for value in found:
            slim(value)
    elif isinstance(found, dict):
        for value in found.values():
            slim(value)


class OpenModel(ApiModel):
    """A type of which only some fields are named here; the others pass through untouched."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="allow")


def to_rfc3339(moment: datetime) -> str:
    """Kubernetes' ``metav1.Time``: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# A point in time: aware in Python, metav1.Time on the wire.
Time = Annotated[datetime, PlainSerializer(to_rfc3339, return_type=str)]


def at(timestamp: float) -> datetime:
    """The whole second (as ``metav1.Time`` keeps it) of a Unix time in seconds."""
    return datetime.fromtimestamp(int(timestamp), UTC)

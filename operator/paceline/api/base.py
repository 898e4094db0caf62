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

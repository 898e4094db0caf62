"""A TrainingJob as the operator handles it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from paceline.api.base import ApiModel, Time, slim
from paceline.api.spec import TrainingJobSpec
from paceline.api.status import TrainingJobStatus


class Metadata(ApiModel):
    """The part of an object's metadata that decisions need."""

    name: str
    namespace: str
    uid: str
    resource_version: str = "0"
    generation: int = 1
    labels: dict[str, str] = Field(default={})
    creation_timestamp: Time
    deletion_timestamp: Time | None = None


class TrainingJob(ApiModel):
    metadata: Metadata
    spec: TrainingJobSpec
    status: TrainingJobStatus = Field(default=TrainingJobStatus())

    @property
    def key(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> TrainingJob:
        """From the API server's JSON. Raises pydantic.ValidationError where the object is not of this schema."""
        job = cls.model_validate(obj)
        slim(job)
        return job

"""What the API server makes of the operator's writes."""

from __future__ import annotations

import asyncio
import time

import pytest

from paceline.api.trainingjob import TrainingJob
from paceline.controller.executor import Executor
from paceline.kube import config
from paceline.kube.client import ApiError, Client
from paceline.kube.reflector import Store
from paceline.render.pods import Installation
from tests.kube import apply, get, job, status, wait_phase


def test_a_patch_meets_the_status_that_it_was_made_from_or_nothing(operator, namespace):
    """Of a write whose answer was lost the operator does not know: a patch made without it must not be mixed into it."""
    apply(job("twice", namespace, suspend=True))
    wait_phase("twice", namespace, "Queued")

    async def write() -> None:
        client = Client(config.load())
        executor = Executor(
            client, Store(lambda old, new: None), Installation("trainer:1"), time.time, lambda reason: None
        )
        known = TrainingJob.parse(get("tj", "twice", namespace))
        try:
            await executor.patch_status(known, {"activeSeconds": 1})
            with pytest.raises(ApiError) as refused:
                await executor.patch_status(known, {"activeSeconds": 2})
            assert refused.value.code == 409
        finally:
            await client.close()

    asyncio.run(write())
    assert status("twice", namespace)["activeSeconds"] == 1

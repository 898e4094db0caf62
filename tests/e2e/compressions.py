"""A CompressionJob as the tests wait for it."""

from __future__ import annotations

from pathlib import Path

from tests.kube import get, wait


def status(name, namespace):
    return get("compressionjob", name, namespace).get("status", {})


def ended(name, namespace, seconds=900):
    """Its status, when it has ended."""
    last = {}

    def there():
        last.update(status(name, namespace))
        return last.get("phase") in ("Succeeded", "Failed") and last

    return wait(f"compressionjob/{name} ends", there, seconds)


def models(namespace):
    """The folder that the claim models is of."""
    volume = get("pvc", "models", namespace)["spec"]["volumeName"]
    return Path(get("pv", volume)["spec"]["hostPath"]["path"])

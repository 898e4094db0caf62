"""Installs the operator by its Helm chart, from the images that were built here."""

from __future__ import annotations

import os
import subprocess

from devcluster import images
from devcluster.paths import PROJECT

RELEASE = "paceline"


def image_values() -> list[str]:
    """Helm values for the images of this checkout: content-hash tags, so that a change rolls the operator out."""
    registry = os.environ.get("PACELINE_REGISTRY")
    refs = {name: images.reference(name) for name in images.SOURCES}
    if registry:
        refs = {name: f"{registry.rstrip('/')}/{ref.partition('/')[2]}" for name, ref in refs.items()}
    repository, _, tag = refs["operator"].rpartition(":")
    # As strings: a hash of digits alone, or with one e, would be taken for a number.
    return ["--set-string", f"image.repository={repository},image.tag={tag},trainerImage={refs['trainer']}"]


def install(namespace: str, *options: str) -> None:
    """Idempotent; ``options`` are helm's, and those of an earlier call are forgotten.

    Raises subprocess.CalledProcessError; helm has said why by then.
    """
    command = [
        "helm",
        "upgrade",
        "--install",
        RELEASE,
        str(PROJECT / "charts/paceline"),
        "-n",
        namespace,
        "--create-namespace",
    ]
    subprocess.run(
        [*command, *image_values(), *options, "--wait", "--timeout", "3m"], check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    install("paceline-system")

"""A cluster that somebody has already (CLUSTER=current), or one that kind makes in a container engine (CLUSTER=kind)."""

from __future__ import annotations

import os
import shutil

from devcluster import images, paths
from devcluster.commands import require, run
from devcluster.console import ClusterError, say, step

KIND_NAME = "paceline"


def engine() -> str:
    """docker or podman, whichever there is. Raises ClusterError."""
    for name in ("docker", "podman"):
        if shutil.which(name):
            return name
    raise ClusterError("docker or podman is needed to build images for a cluster that is not the embedded one")


def build(name: str) -> str:
    ref = images.reference(name)
    if os.environ.get("PACELINE_REGISTRY"):
        ref = f"{os.environ['PACELINE_REGISTRY'].rstrip('/')}/{ref.partition('/')[2]}"
    with step(f"building {ref}", images.USUAL[name]):
        tags = ["-t", ref, "-t", images.released(ref)]
        run(engine(), "build", "-f", paths.PROJECT / images.SOURCES[name][0], *tags, paths.PROJECT)
    return ref


class Current:
    """kubectl's current context. Nothing of it is made or removed here."""

    def up(self) -> None:
        require([("kubectl", "from your cluster's provider or package manager"), ("helm", "from your package manager")])
        context = run("kubectl", "config", "current-context").strip()
        run("kubectl", "get", "--raw", "/readyz", timeout=30)
        say(f"using the cluster of kubectl's context {context!r}")

    def down(self) -> None:
        say(
            "CLUSTER=current: the cluster is yours; uninstall Paceline with: helm uninstall paceline -n paceline-system"
        )

    def load_image(self, refs: list[str]) -> None:
        if not os.environ.get("PACELINE_REGISTRY"):
            raise ClusterError(
                "the nodes of your cluster pull from a registry: set PACELINE_REGISTRY to one "
                "that you may push to and that they may pull from"
            )
        for ref in refs:
            with step(f"pushing {ref}", "depends on your registry; the trainer image has 5 GB"):
                run(engine(), "push", ref)
                run(engine(), "push", images.released(ref))


class Kind(Current):
    """A kind cluster of the project's own."""

    def up(self) -> None:
        require(
            [
                ("kind", "from kind.sigs.k8s.io"),
                ("kubectl", "from your package manager"),
                ("helm", "from your package manager"),
            ]
        )
        if KIND_NAME not in run("kind", "get", "clusters").split():
            workers = "nodes: [{role: control-plane}, {role: worker}, {role: worker}]"
            config = f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n{workers}\n"
            with step("creating a kind cluster with two workers", "1-3 minutes"):
                run("kind", "create", "cluster", "--name", KIND_NAME, "--config", "-", stdin=config)
        run("kubectl", "config", "use-context", f"kind-{KIND_NAME}")

    def down(self) -> None:
        run("kind", "delete", "cluster", "--name", KIND_NAME)

    def load_image(self, refs: list[str]) -> None:
        for ref in refs:
            with step(f"loading {ref} into kind", "1-2 minutes for the trainer"):
                run("kind", "load", "docker-image", "--name", KIND_NAME, ref, images.released(ref))

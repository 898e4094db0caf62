"""`python -m devcluster`: a cluster to develop and test on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from devcluster import embedded, existing, paths
from devcluster.console import ClusterError, say
from devcluster.network import MAX_NODES, set_wire
from devcluster.node import Node

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
node_app = typer.Typer(no_args_is_help=True, help="One real node of the embedded cluster: n1, n2, …")
app.add_typer(node_app, name="node")


NODE_NAMES = [f"n{number}" for number in range(1, MAX_NODES + 1)]


class Backend(StrEnum):
    EMBEDDED = "embedded"
    CURRENT = "current"
    KIND = "kind"


class Image(StrEnum):
    OPERATOR = "operator"
    TRAINER = "trainer"


def backend() -> Backend:
    try:
        return Backend(os.environ.get("CLUSTER") or "embedded")
    except ValueError:
        raise ClusterError(f"CLUSTER={os.environ['CLUSTER']}: must be embedded, current or kind") from None


def foreign() -> existing.Current:
    return existing.Kind() if backend() is Backend.KIND else existing.Current()


@contextmanager
def told() -> Iterator[None]:
    """What the user can mend is told in one message; anything else is a bug and keeps its traceback."""
    try:
        yield
    except ClusterError as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None


@app.command()
def up(
    nodes: Annotated[int, typer.Option(help="Real nodes (kubelet and containerd).", min=0)] = 2,
    kwok_nodes: Annotated[int, typer.Option(help="Fake nodes, whose pods run at once and do nothing.", min=0)] = 0,
    fake_gpus: Annotated[int, typer.Option(help="Fake nvidia.com/gpu on each real node.", min=0)] = 0,
    network_policies: Annotated[
        bool, typer.Option("--network-policies", help="Enforce them on the real nodes.")
    ] = False,
    monitors: Annotated[bool, typer.Option("--monitors", help="Define the kinds of prometheus-operator.")] = False,
) -> None:
    """Bring the cluster up, or repair what is broken of it. Safe to repeat."""
    with told():
        if backend() is Backend.EMBEDDED:
            embedded.up(nodes, kwok_nodes, fake_gpus, network_policies=network_policies, monitors=monitors)
        else:
            foreign().up()


@app.command()
def down(purge: Annotated[bool, typer.Option(help="Remove certificates and logs, too.")] = False) -> None:
    """Take the cluster down and leave nothing running; caches stay."""
    with told():
        if backend() is Backend.EMBEDDED:
            embedded.down(purge=purge)
        else:
            foreign().down()


@app.command()
def status() -> None:
    """Say how the cluster is."""
    with told():
        if backend() is Backend.EMBEDDED:
            print(embedded.status())
        else:
            foreign().up()


@app.command()
def kubeconfig() -> None:
    """Print the path of an admin kubeconfig (use it by `exec`: the API server listens in a network of its own)."""
    print(paths.KUBECONFIG if backend() is Backend.EMBEDDED else os.environ.get("KUBECONFIG", "~/.kube/config"))


@app.command(name="exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(context: typer.Context) -> None:
    """Run a command where it reaches the cluster, e.g. `exec -- kubectl get nodes`; its exit code is ours."""
    with told():
        prefix: list[str] = []
        if backend() is Backend.EMBEDDED:
            prefix = embedded.command_prefix()
            os.environ.update(embedded.environment())
        if not context.args:
            raise ClusterError("exec needs a command: python -m devcluster exec -- kubectl get nodes")
    command = [*prefix, *context.args]
    sys.stdout.flush()
    with told():
        try:
            os.execvp(command[0], command)  # the command takes our place, with our signals and our exit code
        except FileNotFoundError:
            raise ClusterError(f"exec: {command[0]} is not installed") from None


@app.command(name="build-image")
def build_image(name: Image) -> None:
    """Build an image if its sources have changed; its reference is the last line."""
    with told():
        print(embedded.build_image(name.value) if backend() is Backend.EMBEDDED else existing.build(name.value))


@app.command(name="load-image")
def load_image(refs: list[str]) -> None:
    """Bring built images to the nodes."""
    with told():
        if backend() is Backend.EMBEDDED:
            embedded.load_image(refs)
        else:
            foreign().load_image(refs)


def _node(name: str) -> Node:
    if backend() is not Backend.EMBEDDED:
        raise ClusterError("nodes can be stopped and cut off in the embedded cluster only")
    if name not in NODE_NAMES:
        raise ClusterError(f"no such node: {name}; nodes are {NODE_NAMES[0]} to {NODE_NAMES[-1]}")
    embedded.command_prefix()
    return Node(int(name[1:]))


@node_app.command()
@node_app.command(name="start")
def add(name: str) -> None:
    """Add a node, or start one that was stopped: the same thing."""
    with told():
        node = _node(name)
        node.start()
        node.wait_ready()


@node_app.command()
def stop(name: str) -> None:
    """End a node as if its power were cut."""
    with told():
        _node(name).stop()


@node_app.command()
def cut(name: str) -> None:
    """Cut a node off the network; its processes go on."""
    with told():
        set_wire(_node(name).number, up=False)


@node_app.command()
def heal(name: str) -> None:
    """Connect a node again that was cut off."""
    with told():
        set_wire(_node(name).number, up=True)

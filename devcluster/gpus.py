"""Fake nvidia.com/gpu devices on the real nodes: a device plugin that registers with the kubelet like any other."""

from __future__ import annotations

import sys
from pathlib import Path

from devcluster import paths
from devcluster.console import step
from devcluster.controlplane import kubectl, wait_for
from devcluster.node import Node
from devcluster.process import Process

RESOURCE = "nvidia.com/gpu"
PLUGIN = Path(__file__).with_name("fake_gpu_plugin.py")


def start(node: Node, count: int) -> None:
    process = Process(f"{node.name}-fake-gpus")
    if process.pid() and _allocatable(node) == str(count):
        return
    process.stop()
    with step(f"registering {count} fake {RESOURCE} on {node.name}", "5 s"):
        stubs = _stubs()
        command = [*node.within(), sys.executable, str(PLUGIN), "/var/lib/kubelet/device-plugins", RESOURCE, str(count)]
        process.start(command, env={"PYTHONPATH": str(stubs)})
        wait_for(lambda: _allocatable(node) == str(count), 60, f"fake devices of {node.name}", process.log)


def _allocatable(node: Node) -> str:
    return kubectl(
        "get", "node", node.name, "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}", check=False
    ).strip()


def _stubs() -> Path:
    """The plugin protocol's Python modules, generated from deviceplugin.proto into the state folder."""
    target = paths.STATE / "deviceplugin"
    if not (target / "deviceplugin_pb2_grpc.py").exists():
        target.mkdir(parents=True, exist_ok=True)
        from grpc_tools import protoc

        source = PLUGIN.parent
        code = protoc.main(
            [
                "protoc",
                f"-I{source}",
                f"--python_out={target}",
                f"--grpc_python_out={target}",
                str(source / "deviceplugin.proto"),
            ]
        )
        if code != 0:
            raise RuntimeError(f"protoc failed with exit code {code}")
    return target

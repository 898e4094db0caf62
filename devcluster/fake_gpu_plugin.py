"""A Kubernetes device plugin without devices: python fake_gpu_plugin.py DEVICE_PLUGIN_DIR RESOURCE COUNT

A file DEVICE_PLUGIN_DIR/unhealthy that holds device numbers, one a line, marks those devices Unhealthy.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import deviceplugin_pb2 as pb  # generated at run time
import deviceplugin_pb2_grpc as rpc
import grpc

POLL_SECONDS = 1.0


class Plugin(rpc.DevicePluginServicer):  # type: ignore[misc]
    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def _devices(self) -> list[Any]:
        try:
            bad = set((self._folder / "unhealthy").read_text(encoding="utf-8").split())
        except OSError:
            bad = set()
        return [
            pb.Device(ID=f"GPU-{i}", health="Unhealthy" if str(i) in bad else "Healthy") for i in range(self._count)
        ]

    def GetDevicePluginOptions(self, request: Any, context: Any) -> Any:
        return pb.DevicePluginOptions()

    def ListAndWatch(self, request: Any, context: Any) -> Iterator[Any]:
        told = None
        while context.is_active():
            devices = self._devices()
            if devices != told:
                yield pb.ListAndWatchResponse(devices=devices)
                told = devices
            time.sleep(POLL_SECONDS)

    def GetPreferredAllocation(self, request: Any, context: Any) -> Any:
        return pb.PreferredAllocationResponse()

    def Allocate(self, request: Any, context: Any) -> Any:
        return pb.AllocateResponse(
            container_responses=[
                pb.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(r.devices_ids)})
                for r in request.container_requests
            ]
        )

    def PreStartContainer(self, request: Any, context: Any) -> Any:
        return pb.PreStartContainerResponse()


def serve(folder: Path, resource: str, count: int) -> None:
    """Registers, and again whenever the kubelet restarts: it then wipes the folder and makes a new socket."""
    own = folder / (resource.replace("/", "_") + ".sock")
    kubelet = folder / "kubelet.sock"
    server, registered_with = None, 0
    while True:
        inode = kubelet.stat().st_ino if kubelet.exists() else 0
        if inode and (inode != registered_with or not own.exists()):
            if server:
                server.stop(0)
            own.unlink(missing_ok=True)
            server = grpc.server(futures.ThreadPoolExecutor(8))
            rpc.add_DevicePluginServicer_to_server(Plugin(folder, count), server)
            server.add_insecure_port(f"unix:{own}")
            server.start()
            with grpc.insecure_channel(f"unix:{kubelet}") as channel:
                request = pb.RegisterRequest(version="v1beta1", endpoint=own.name, resource_name=resource)
                rpc.RegistrationStub(channel).Register(request, timeout=5)
            registered_with = inode
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

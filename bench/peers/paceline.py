"""Paceline itself, by the same questions as the others."""

from __future__ import annotations

from bench.operator_process import OperatorProcess
from bench.peers.manager import FOLDER
from bench.peers.system import COMMAND, IMAGE, REQUESTS, Json, System
from paceline.api import API_VERSION, PLURAL
from tests import kube


class Paceline(System):
    job_label, selector = "paceline.dev/job-name", "paceline.dev/role=worker"

    def __init__(self) -> None:
        self._operator = OperatorProcess(FOLDER / "paceline.log")
        self._runs = False

    def install(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        kube.kubectl("apply", "-f", str(kube.ROOT / "crds"))

    async def start(self) -> None:
        await self._operator.start()
        self._runs = True

    def stop(self) -> None:
        self._operator.stop()
        self._runs = False

    def pids(self) -> list[int]:
        return [self._operator.pid] if self._runs else []

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        body = kube.job(name, namespace, nodes=pods, image=IMAGE, command=COMMAND, resources=REQUESTS)
        return [(f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}", body)]

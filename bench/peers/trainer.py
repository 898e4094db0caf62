"""Kubeflow Trainer with JobSet: a TrainJob of its published runtime for torch."""

from __future__ import annotations

import yaml

from bench.peers import build, install
from bench.peers.jobset import JobSet
from bench.peers.manager import Manager, config_file
from bench.peers.system import AT_ONCE, BURST, COMMAND, IMAGE, QPS, REQUESTS, Json
from tests.kube import KWOK_TOLERATION

NAMESPACE, LEASE, RUNTIME = "kubeflow-system", "trainer.kubeflow.org", "torch-distributed"
HEALTH, WEBHOOKS = 8081, 9443


class Trainer(JobSet):
    # The JobSet of a TrainJob has its name.
    def __init__(self, *, raised: bool) -> None:
        super().__init__(raised=raised)
        self._limits = {"qps": QPS, "burst": BURST} if raised else {}
        if raised:
            self.raised += f"; trainer qps: {QPS}, burst: {BURST}, {AT_ONCE} TrainJobs at once"
        self._trainer: Manager | None = None

    def install(self) -> None:
        super().install()
        manifests = build.sources(build.TRAINER) / "manifests/base"
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kubeflow-trainer-webhook-cert"}}
        published = [one for part in ("crds", "manager", "webhook") for one in install.kustomized(manifests / part)]
        objects = install.without_pods([*published, secret], NAMESPACE, WEBHOOKS, install.certificates())
        install.apply([namespace, *objects])

    async def start(self) -> None:
        await super().start()
        manifests = build.sources(build.TRAINER) / "manifests/base"
        config = yaml.safe_load((manifests / "manager/controller_manager_config.yaml").read_text(encoding="utf-8"))
        config["leaderElection"]["resourceNamespace"] = NAMESPACE  # a pod knows its own
        config["clientConnection"] |= self._limits
        if self._limits:
            config["controller"]["groupKindConcurrency"]["TrainJob.trainer.kubeflow.org"] = AT_ONCE
        # As its Deployment starts it.
        arguments = [f"--config={config_file('trainer.yaml', yaml.safe_dump(config))}", "--zap-log-level=2"]
        self._trainer = Manager("trainer-controller-manager", arguments, HEALTH, (NAMESPACE, LEASE))
        await self._trainer.start()
        runtimes = install.kustomized(manifests / "runtimes")
        install.apply([_on_fake_nodes(next(one for one in runtimes if one["metadata"]["name"] == RUNTIME))])

    def stop(self) -> None:
        if self._trainer is not None:
            self._trainer.stop()
        super().stop()

    def pids(self) -> list[int]:
        return super().pids() + ([] if self._trainer is None else self._trainer.pids())

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        trainer = {"numNodes": pods, "image": IMAGE, "command": COMMAND, "resourcesPerNode": REQUESTS}
        body = {
            "apiVersion": "trainer.kubeflow.org/v1alpha1",
            "kind": "TrainJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"runtimeRef": {"name": RUNTIME}, "trainer": trainer},
        }
        return [(f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs", body)]


def _on_fake_nodes(runtime: Json) -> Json:
    """Its pods tolerate what keeps others off kwok's nodes; nothing else is changed."""
    for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
        job["template"]["spec"]["template"]["spec"]["tolerations"] = [KWOK_TOLERATION]
    return runtime

"""Kubeflow's training-operator: a PyTorchJob of one master and the other workers, as its examples have it."""

from __future__ import annotations

from bench.peers import build, install
from bench.peers.manager import Manager
from bench.peers.system import AT_ONCE, BURST, QPS, Json, System, pod_spec

NAMESPACE, HEALTH, WEBHOOKS = "kubeflow", 8081, 9443


class TrainingOperator(System):
    job_label = "training.kubeflow.org/job-name"

    def __init__(self, *, raised: bool) -> None:
        flags = [f"--kube-api-qps={QPS}", f"--kube-api-burst={BURST}", f"--controller-threads={AT_ONCE}"]
        self.raised = " ".join(flags) if raised else ""
        # Its Deployment gives no flags: 20 requests a second, bursts of 30, one thread a kind, no leader election.
        self._manager = Manager("training-operator.v1", flags if raised else [], HEALTH)

    def install(self) -> None:
        published = install.kustomized(build.sources(build.TRAINING_OPERATOR) / "manifests/overlays/standalone")
        install.apply(install.without_pods(published, NAMESPACE, WEBHOOKS, install.certificates()))

    async def start(self) -> None:
        await self._manager.start()

    def stop(self) -> None:
        self._manager.stop()

    def pids(self) -> list[int]:
        return self._manager.pids()

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        def replicas(count: int) -> Json:
            return {"replicas": count, "restartPolicy": "OnFailure", "template": {"spec": pod_spec("pytorch")}}

        body = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"pytorchReplicaSpecs": {"Master": replicas(1), "Worker": replicas(pods - 1)}},
        }
        return [(f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs", body)]

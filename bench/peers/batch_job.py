"""Kubernetes' own indexed Job, whose controller is part of the controller manager."""

from __future__ import annotations

from bench.peers.system import AT_ONCE, BURST, QPS, Json, System, pod_spec
from devcluster.controlplane import restart_controller_manager

# JobSet and Trainer have their pods made by this controller, too: by default 20 requests a second, five Jobs at once.
RAISED_FLAGS = (f"--kube-api-qps={QPS}", f"--kube-api-burst={BURST}", f"--concurrent-job-syncs={AT_ONCE}")


class BatchJob(System):
    job_label = "batch.kubernetes.io/job-name"

    def __init__(self, *, raised: bool) -> None:
        self.raised = f"kube-controller-manager {' '.join(RAISED_FLAGS)}" if raised else ""

    async def start(self) -> None:
        if self.raised:
            restart_controller_manager(*RAISED_FLAGS)

    def stop(self) -> None:
        if self.raised:
            restart_controller_manager()

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": namespace},
            "spec": job_spec("worker", pods),
        }
        return [(f"/apis/batch/v1/namespaces/{namespace}/jobs", body)]


def job_spec(container: str, pods: int) -> Json:
    template = {"spec": pod_spec(container) | {"restartPolicy": "OnFailure"}}
    return {"completions": pods, "parallelism": pods, "completionMode": "Indexed", "template": template}

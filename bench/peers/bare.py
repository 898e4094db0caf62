"""No system at all: the client that creates everybody's jobs creates the workers themselves."""

from __future__ import annotations

from bench.peers.system import Json, System, pod_spec


class BareClient(System):
    job_label = "bench.paceline.dev/job-name"
    replaces = False

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        def pod(n: int) -> Json:
            meta = {"name": f"{name}-{n}", "namespace": namespace, "labels": {self.job_label: name}}
            return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec("worker")}

        return [(f"/api/v1/namespaces/{namespace}/pods", pod(n)) for n in range(pods)]

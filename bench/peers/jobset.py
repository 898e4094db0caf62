"""JobSet: one replicated Job of all workers, whose pods Kubernetes' own Job controller makes."""

from __future__ import annotations

import yaml

from bench.peers import build, install
from bench.peers.batch_job import BatchJob, job_spec
from bench.peers.manager import Manager, config_file
from bench.peers.system import BURST, QPS, Json

NAMESPACE, LEASE = "jobset-system", "6d4f6a47.jobset.x-k8s.io"
# Not its own ports, which Trainer has, that runs beside it.
HEALTH, METRICS, WEBHOOKS = 8082, 8444, 9444


class JobSet(BatchJob):
    job_label = "jobset.sigs.k8s.io/jobset-name"

    def __init__(self, *, raised: bool) -> None:
        super().__init__(raised=raised)
        # By default 500 requests a second: what holds it up is the Job controller.
        self._flags = [f"--kube-api-qps={QPS}", f"--kube-api-burst={BURST}"] if raised else []
        self.raised += f"; jobset {' '.join(self._flags)}" if raised else ""
        self._manager: Manager | None = None

    def install(self) -> None:
        published = install.kustomized(build.sources(build.JOBSET) / "config/default")
        install.apply(install.without_pods(published, NAMESPACE, WEBHOOKS, install.certificates()))

    async def start(self) -> None:
        await super().start()
        folder = build.sources(build.JOBSET) / "config/components/manager"
        config = yaml.safe_load((folder / "controller_manager_config.yaml").read_text(encoding="utf-8"))
        config["leaderElection"]["resourceNamespace"] = NAMESPACE  # a pod knows its own
        config |= {
            "health": {"healthProbeBindAddress": f":{HEALTH}"},
            "metrics": {"bindAddress": f":{METRICS}"},
            "webhook": {"port": WEBHOOKS},
        }
        # As its Deployment starts it.
        arguments = [
            f"--config={config_file('jobset.yaml', yaml.safe_dump(config))}",
            "--zap-log-level=2",
            *self._flags,
        ]
        self._manager = Manager("jobset", arguments, HEALTH, (NAMESPACE, LEASE))
        await self._manager.start()

    def stop(self) -> None:
        if self._manager is not None:
            self._manager.stop()
        super().stop()

    def pids(self) -> list[int]:
        return [] if self._manager is None else self._manager.pids()

    def objects(self, name: str, namespace: str, pods: int) -> list[tuple[str, Json]]:
        body = {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicatedJobs": [{"name": "node", "template": {"spec": job_spec("worker", pods)}}]},
        }
        return [(f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{namespace}/jobsets", body)]

"""etcd, API server, controller manager and scheduler, as processes in the control plane's namespace. Up in about 5 s."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from devcluster import paths
from devcluster.commands import CONTROL_PLANE_NETNS, inside, run, succeeds
from devcluster.console import ClusterError, step
from devcluster.network import API_SERVER_IP, SERVICE_RANGE
from devcluster.process import Process
from devcluster.programs import program

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
# A dead node is NotReady after this, instead of Kubernetes' 50 s. Where all are fake none dies so, and kwok renews leases every
# ten seconds, 160 of them through a busy API server: they keep Kubernetes' time.
NODE_GRACE, FAKE_NODE_GRACE = "12s", "50s"


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    return run(
        *inside(CONTROL_PLANE_NETNS),
        program("kubectl"),
        f"--kubeconfig={paths.KUBECONFIG}",
        *arguments,
        check=check,
        stdin=stdin,
    )


def healthy() -> bool:
    return all(Process(name).pid() for name in NAMES) and succeeds(
        *inside(CONTROL_PLANE_NETNS),
        program("kubectl"),
        f"--kubeconfig={paths.KUBECONFIG}",
        "--request-timeout=5s",
        "get",
        "--raw",
        "/readyz",
    )


def start(node_grace: str) -> None:
    """``node_grace``: one that has another is started anew with it."""
    manager = Process("kube-controller-manager")
    if healthy():
        if _grace(node_grace) not in manager.command():
            manager.stop()
            manager.start(_controller_manager(node_grace))
        return
    with step("starting the control plane", "5-10 s"):
        prefix = inside(CONTROL_PLANE_NETNS)
        # One that lives but does not answer is started anew, in the order of their needs.
        for name in reversed(NAMES):
            if Process(name).pid() and name != "etcd":
                Process(name).stop()
        Process("etcd").start([*prefix, program("etcd"), *_etcd()])
        start_api_server()
        manager.start(_controller_manager(node_grace))
        start_scheduler()
        wait_for(_default_account, 60, "the controller manager", manager.log)


def start_api_server() -> None:
    """Where it is not running; returns when it answers. Raises ClusterError."""
    process = Process("kube-apiserver")
    process.start([*inside(CONTROL_PLANE_NETNS), program("kube-apiserver"), *_apiserver()])
    wait_for(healthy_api, 90, "the API server", process.log)


def start_scheduler() -> None:
    """Where it is not running: it ends itself where a pod is not as it remembers, which an API server's kill can bring about."""
    Process("kube-scheduler").start([*inside(CONTROL_PLANE_NETNS), program("kube-scheduler"), *_scheduler()])


def restart_controller_manager(*flags: str) -> None:
    """That of a cluster of fake nodes, with further flags, or without them again."""
    process = Process("kube-controller-manager")
    process.stop()
    process.start([*_controller_manager(FAKE_NODE_GRACE), *flags])


def healthy_api() -> bool:
    return succeeds(
        *inside(CONTROL_PLANE_NETNS), program("kubectl"), f"--kubeconfig={paths.KUBECONFIG}", "get", "--raw", "/readyz"
    )


def _default_account() -> bool:
    return "default" in kubectl("get", "serviceaccount", "default", "-n", "default", "-o", "name", check=False)


def wait_for(condition: Callable[[], bool], seconds: float, what: str, log: Path) -> None:
    """Raises ClusterError with the last lines of the log where the condition does not come true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            tail = (
                "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]) if log.exists() else ""
            )
            raise ClusterError(f"{what} is not ready after {seconds:.0f} s; the end of {log}:\n{tail}")
        time.sleep(0.3)


def stop() -> None:
    for name in reversed(NAMES):
        Process(name).stop()


def _etcd() -> list[str]:
    # No fsync: a cluster for tests loses nothing that a power cut could take.
    local = "http://127.0.0.1"
    return [
        f"--data-dir={paths.STATE / 'etcd'}", f"--listen-client-urls={local}:2379", f"--advertise-client-urls={local}:2379",
        f"--listen-peer-urls={local}:2380", "--unsafe-no-fsync", "--quota-backend-bytes=4294967296", "--log-level=warn",
    ]  # fmt: skip


def _apiserver() -> list[str]:
    pki = paths.PKI
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={API_SERVER_IP}",
        "--secure-port=6443",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--enable-aggregator-routing=true",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]


def _grace(node_grace: str) -> str:
    return f"--node-monitor-grace-period={node_grace}"


def _controller_manager(node_grace: str) -> list[str | Path]:
    pki = paths.PKI
    return [
        *inside(CONTROL_PLANE_NETNS),
        program("kube-controller-manager"),
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--node-monitor-period=1s",
        _grace(node_grace),
        "--bind-address=127.0.0.1",
    ]


def _scheduler() -> list[str]:
    return [f"--kubeconfig={paths.PKI}/scheduler.kubeconfig", "--leader-elect=false", "--bind-address=127.0.0.1"]

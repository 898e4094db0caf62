"""Kinds and webhooks of a peer as its module publishes them, for a peer that is a process of this machine and not a pod."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from bench.peers.manager import FOLDER
from devcluster.commands import run
from devcluster.network import API_SERVER_IP
from tests.kube import kubectl

Json = dict[str, Any]
# Where all of them look for their webhook's certificate: a kubelet would mount the Secret there.
MOUNT = Path("/tmp/k8s-webhook-server/serving-certs")
# Whom the certificate is for: the Services in front of the webhooks. The authority carries the names that their own
# cert-controller looks for, which then finds nothing to renew, and puts it into the webhooks' configurations as ever.
SERVERS = (
    "training-operator.kubeflow.svc",
    "kubeflow-trainer-controller-manager.kubeflow-system.svc",
    "jobset-webhook-service.jobset-system.svc",
)
AUTHORITIES = ("training-operator-ca", "kubeflow-trainer-ca", "jobset-ca")
# What only its pods would need.
_LEFT_OUT = ("Deployment", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ConfigMap")
_CLUSTER_WIDE = ("Namespace", "CustomResourceDefinition", "ClusterTrainingRuntime")


def kustomized(folder: Path) -> list[Json]:
    return [one for one in yaml.safe_load_all(kubectl("kustomize", str(folder))) if one]


def apply(objects: Iterable[Json]) -> None:
    """Server-side: the kinds are too large for kubectl's annotation."""
    body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))


def without_pods(objects: Iterable[Json], namespace: str, port: int, secret: Json) -> list[Json]:
    """Of what a peer publishes, all that a process needs whose webhooks are served at ``port`` of the API server's own network.

    ``secret``: the data of its certificate's Secret.
    """
    found = []
    for one in objects:
        kind = one["kind"]
        if kind in _LEFT_OUT:
            continue
        if kind.endswith("WebhookConfiguration"):
            hooks = [_of_namespace(hook, namespace) for hook in one["webhooks"]]
            found.append({**one, "webhooks": hooks})
        elif kind == "Service":
            found += _service(one, namespace, port)
        elif kind == "Secret":
            found.append(_named(one, namespace) | {"data": secret})
        else:
            found.append(one if kind in _CLUSTER_WIDE else _named(one, namespace))
    return found


def certificates() -> Json:
    """The data of the Secrets; the server's pair lies where a kubelet would mount it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = {name: FOLDER / name for name in ("ca.key", "ca.crt", "tls.key", "tls.crt")}
    if not files["tls.crt"].exists():
        _make(files)
    MOUNT.mkdir(parents=True, exist_ok=True)
    for name in ("tls.crt", "tls.key"):
        shutil.copy(files[name], MOUNT / name)
    return {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}


def unmount() -> None:
    shutil.rmtree(MOUNT.parent, ignore_errors=True)


def _make(files: dict[str, Path]) -> None:
    # RSA in its traditional form: their cert-controller reads no other.
    for name in ("ca.key", "tls.key"):
        run("openssl", "genrsa", "-traditional", "-out", files[name], "2048")
    run(
        "openssl", "req", "-x509", "-new", "-key", files["ca.key"], "-subj", "/CN=peers-ca", "-days", "3650",
        "-out", files["ca.crt"], "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign,digitalSignature", "-addext", f"subjectAltName={_names(AUTHORITIES)}",
    )  # fmt: skip
    request = run("openssl", "req", "-new", "-key", files["tls.key"], "-subj", f"/CN={SERVERS[0]}")
    extensions = FOLDER / "tls.ext"
    extensions.write_text(f"extendedKeyUsage=serverAuth\nsubjectAltName={_names(SERVERS)}", encoding="utf-8")
    run(
        "openssl", "x509", "-req", "-CA", files["ca.crt"], "-CAkey", files["ca.key"], "-CAcreateserial",
        "-days", "3650", "-extfile", extensions, "-out", files["tls.crt"], stdin=request,
    )  # fmt: skip


def _names(names: Iterable[str]) -> str:
    return ",".join(f"DNS:{name}" for name in names)


def _named(one: Json, namespace: str) -> Json:
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}}


def _of_namespace(hook: Json, namespace: str) -> Json:
    service = {**hook["clientConfig"]["service"], "namespace": namespace}
    return {**hook, "clientConfig": {"service": service}}


def _service(one: Json, namespace: str, port: int) -> list[Json]:
    """The Service without a selector, and where its webhooks are: endpoints may not be of the loopback."""
    https = [entry for entry in one["spec"]["ports"] if entry["port"] == 443]
    if not https:  # for metrics
        return []
    named = _named(one, namespace)
    labels = {"kubernetes.io/service-name": one["metadata"]["name"]}
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{one['metadata']['name']}-peer", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [API_SERVER_IP], "conditions": {"ready": True}}],
        "ports": [{"name": https[0].get("name", ""), "port": port, "protocol": "TCP"}],
    }
    spec = {"ports": [{**https[0], "protocol": "TCP", "targetPort": port}]}
    return [{**named, "spec": spec}, slice_]

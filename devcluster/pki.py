"""Certificates and kubeconfigs of the cluster, by openssl; made once for each state directory."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from devcluster import paths
from devcluster.commands import run
from devcluster.network import API_SERVER_IP, MAX_NODES, SERVICE_IP, node_ip

DAYS = "3650"
SERVER = f"https://{API_SERVER_IP}:6443"


def ensure() -> None:
    if paths.KUBECONFIG.exists():
        return
    paths.PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    _key("ca")
    run(
        "openssl", "req", "-x509", "-new", "-key", _file("ca.key"), "-subj", "/CN=kubernetes-ca", "-days", DAYS,
        "-out", _file("ca.crt"), "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
    )  # fmt: skip
    names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ]
    addresses = ["127.0.0.1", API_SERVER_IP, SERVICE_IP]
    san = ",".join([f"DNS:{name}" for name in names] + [f"IP:{ip}" for ip in addresses])
    _certificate("apiserver", "/CN=kube-apiserver", "serverAuth", san)
    _certificate("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    _certificate("front-proxy-client", "/CN=front-proxy-client")
    run("openssl", "genrsa", "-out", _file("sa.key"), "2048")
    run("openssl", "rsa", "-in", _file("sa.key"), "-pubout", "-out", _file("sa.pub"))
    for name, subject in {
        "controller-manager": "/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
        "kube-proxy": "/CN=system:kube-proxy",
        "kwok": "/O=system:masters/CN=kwok",
    }.items():
        _certificate(name, subject)
        _kubeconfig(name)
    for number in range(1, MAX_NODES + 1):
        name = f"n{number}"
        san = f"DNS:{name},IP:{node_ip(number)}"
        _certificate(f"node-{name}", f"/O=system:nodes/CN=system:node:{name}", "clientAuth,serverAuth", san)
        _kubeconfig(f"node-{name}")
    # Last, for its presence says that all of this is complete.
    _certificate("admin", "/O=system:masters/CN=admin")
    _kubeconfig("admin")


def _file(name: str) -> Path:
    return paths.PKI / name


def _key(name: str) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", _file(f"{name}.key"))


def _certificate(name: str, subject: str, usage: str = "clientAuth", san: str = "") -> None:
    _key(name)
    request = run("openssl", "req", "-new", "-key", _file(f"{name}.key"), "-subj", subject)
    extensions = _file(f"{name}.ext")
    lines = ["keyUsage=critical,digitalSignature,keyEncipherment", f"extendedKeyUsage={usage}"]
    extensions.write_text("\n".join(lines + ([f"subjectAltName={san}"] if san else [])), encoding="utf-8")
    run(
        "openssl", "x509", "-req", "-CA", _file("ca.crt"), "-CAkey", _file("ca.key"), "-CAcreateserial", "-days", DAYS,
        "-extfile", extensions, "-out", _file(f"{name}.crt"), stdin=request,
    )  # fmt: skip
    extensions.unlink()


def _kubeconfig(name: str) -> None:
    def data(file: str) -> str:
        return base64.b64encode(_file(file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "paceline", "cluster": {"server": SERVER, "certificate-authority-data": data("ca.crt")}}],
        "users": [
            {
                "name": name,
                "user": {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")},
            }
        ],
        "contexts": [{"name": "paceline", "context": {"cluster": "paceline", "user": name}}],
        "current-context": "paceline",
    }
    target = _file(f"{name}.kubeconfig")
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(document), encoding="utf-8")  # JSON is YAML
    partial.chmod(0o600)
    partial.rename(target)

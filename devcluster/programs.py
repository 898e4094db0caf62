"""Kubernetes' programs, built from their published Go modules: no binary is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from devcluster import paths
from devcluster.commands import require, run
from devcluster.console import step

KUBERNETES = "v1.36.3"
_PREFIX = "k8s.io/kubernetes/cmd/"
KUBERNETES_PROGRAMS = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
]
ETCD = "v3.6.8"
TOOLS = {
    "helm": "helm.sh/helm/v4/cmd/helm@v4.2.4",
    "coredns": "github.com/coredns/coredns@v1.14.2",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.8.0",
    "kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v2.1.0",
}
# Not a program: its module has the definitions of ServiceMonitor, PodMonitor and PrometheusRule.
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}


def program(name: str) -> Path:
    return paths.PROGRAMS / name


def ensure(*, nodes: bool, kwok: bool, firewall: bool = False) -> None:
    """Builds what is missing: the control plane always, the kubelets' part for real nodes, kwok for fake ones, kube-router where
    network policies are enforced."""
    wanted = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"]
    wanted += ["kubelet", "kube-proxy"] if nodes else []
    if any(not _built(name, KUBERNETES) for name in wanted):
        _build_kubernetes()
    if not _built("etcd", ETCD):
        _go("building etcd", "15 s", "etcd", "go.etcd.io/etcd/server/v3", ETCD)
    tools = ["helm"] + (["coredns"] if nodes else []) + (["kwok"] if kwok else [])
    tools += ["kube-router"] if firewall else []
    for name in tools:
        install(name, TOOLS[name])


def install(name: str, package: str, module: Path | None = None) -> None:
    """A published program by its path and version, unless it is there; ``module``: the folder whose go.mod has it as its tool."""
    if _built(name, package):
        return
    with step(f"building {name}", "2-4 minutes the first time"):
        _check_go()
        env = {**_ENV, "GOFLAGS": "-buildvcs=false", "GOBIN": str(paths.PROGRAMS)}
        run("go", "install", "tool" if module else package, env=env, cwd=module)
    _stamp(name, package)


def published(name: str) -> Path:
    """The folder of a published module, by Go's own cache."""
    _check_go()
    found: dict[str, str] = json.loads(run("go", "mod", "download", "-json", name, env=_ENV, cwd=_module()))
    return Path(found["Dir"])


def _check_go() -> None:
    require([("go", "Go 1.26 or newer, from go.dev or your package manager")])


def _build_kubernetes() -> None:
    # The version is linked in, else the API server calls itself v0.0.0 and refuses its own feature gates.
    stamp = " ".join(
        f"-X {module}/version.{key}={value}"
        for module in ("k8s.io/component-base", "k8s.io/client-go/pkg")
        for key, value in (
            ("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", "36"), ("gitTreeState", "clean"),
        )
    )  # fmt: skip
    with step(f"building Kubernetes {KUBERNETES} from source", "6-9 minutes the first time on two cores, then seconds"):
        _check_go()
        source = _module()
        packages = [_PREFIX + name for name in KUBERNETES_PROGRAMS]
        flags = ["-p", "2", "-trimpath", "-ldflags", f"-s -w {stamp}"]
        run("go", "build", *flags, "-o", f"{paths.PROGRAMS}/", *packages, env=_ENV, cwd=source)
    for name in KUBERNETES_PROGRAMS:
        _stamp(name, KUBERNETES)


def _go(what: str, usual: str, name: str, package: str, version: str) -> None:
    with step(what, usual):
        _check_go()
        flags = ["-trimpath", "-ldflags", "-s -w"]
        run("go", "build", *flags, "-o", str(program(name)), package, env=_ENV, cwd=_module())
    _stamp(name, version)


def _module() -> Path:
    """A copy of the Go module that pins everything: `-mod=mod` may touch go.sum, and the project stays clean."""
    folder = paths.CACHE / "gomod"
    folder.mkdir(parents=True, exist_ok=True)
    paths.PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name in ("go.mod", "go.sum"):
        shutil.copy(paths.PROJECT / "devcluster" / name, folder / name)
    return folder


def _built(name: str, version: str) -> bool:
    mark = paths.PROGRAMS / f".{name}.version"
    return program(name).exists() and mark.exists() and mark.read_text(encoding="utf-8") == version


def _stamp(name: str, version: str) -> None:
    (paths.PROGRAMS / f".{name}.version").write_text(version, encoding="utf-8")

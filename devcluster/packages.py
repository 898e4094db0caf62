"""Debian packages: what is missing is installed, nothing else is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devcluster.commands import run
from devcluster.console import ClusterError, step

# Program (or file) -> Debian package that brings it.
NEEDED = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "gcc": "gcc",
}
# Asked before a package starts a service of its own; 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")
GIB = 2**30


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    def there(what: str) -> bool:
        return Path(what).exists() if what.startswith("/") else shutil.which(what) is not None

    return sorted({package for what, package in needed.items() if not there(what)})


def install(needed: Mapping[str, str] = NEEDED) -> None:
    wanted = missing(needed)
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"install with your package manager: {', '.join(wanted)} (only Debian's apt-get is automated)"
        )
    with step(f"installing Debian packages: {' '.join(wanted)}", "20 s"), _no_services():
        run("apt-get", "update", "-q")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted, env=env)


@contextmanager
def _no_services() -> Iterator[None]:
    """Packages are here for their programs: none of them (Prometheus, containerd) may leave a service running."""
    if POLICY.exists():  # the machine has a policy of its own
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def check_machine(folder: Path, need_gib: float) -> None:
    """Root and disk. Raises ClusterError that says what is needed and what is there."""
    require_root()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB
    if free < need_gib:
        raise ClusterError(
            f"not enough disk under {folder}: {need_gib:.0f} GiB are needed, {free:.1f} GiB are free. "
            "Set PACELINE_CACHE and PACELINE_STATE to a larger disk, or free some"
        )


def require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError(
            "the embedded cluster needs root: it makes network namespaces and mounts. Run it by sudo, "
            "or use a cluster of yours with CLUSTER=current, or CLUSTER=kind"
        )

"""The configuration files of a node, as text. The settings that bear weight say why."""

from __future__ import annotations

from pathlib import Path

from devcluster import paths
from devcluster.network import API_SERVER_IP, POD_RANGE, node_ip, pod_range

__all__ = ["KUBE_PROXY", "PAUSE", "cgroup", "files", "node_ip"]

PAUSE = "localhost/pause:3.10"
KUBE_PROXY = [
    "--proxy-mode=iptables",
    f"--cluster-cidr={POD_RANGE}",
    "--conntrack-max-per-core=0",  # the machine's own setting is not ours to change
    "--oom-score-adj=0",  # lower needs CAP_SYS_RESOURCE
]


def cgroup(number: int) -> str:
    return f"kubelet-n{number}"


def files(number: int, folder: Path, disk: Path) -> dict[str, str]:
    """File name below the node's folder -> content."""
    return {
        "start.sh": _start(number, folder, disk),
        "containerd.toml": _containerd(),
        "kubelet.yaml": _kubelet(number),
        "cni-net.d/10-bridge.conflist": _cni(number),
    }


def _start(number: int, folder: Path, disk: Path) -> str:
    """Runs in the node's own mount namespace: the well-known folders are the node's, then it becomes containerd."""
    binds = {
        folder / "kubelet": "/var/lib/kubelet",
        disk / "containerd": "/var/lib/containerd",
        folder / "run": "/run/containerd",
        folder / "log-pods": "/var/log/pods",
        folder / "log-containers": "/var/log/containers",
        folder / "cni-net.d": "/etc/cni/net.d",
        folder / "cni-lib": "/var/lib/cni",
    }
    mounts = "\n".join(f"mkdir -p {there} && mount --bind '{here}' {there}" for here, there in binds.items())
    # The pods' network namespaces are the node's: the machine's own /run/netns must not fill with their names.
    return f"""set -e
hostname n{number}
{mounts}
mount --make-rshared /var/lib/kubelet
mount -t tmpfs tmpfs /run/netns
exec containerd -c '{folder}/containerd.toml'
"""


def _containerd() -> str:
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE a lower score is refused, and every sandbox dies of it.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""


def _kubelet(number: int) -> str:
    pki = paths.PKI
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup(number)}
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {pki}/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {pki}/node-n{number}.crt
tlsPrivateKeyFile: {pki}/node-n{number}.key
clusterDomain: cluster.local
clusterDNS: [{API_SERVER_IP}]
# The nodes share one disk with everything else on this machine: its fullness is not theirs to act on.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: "1Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}}
serializeImagePulls: false
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 10
protectKernelDefaults: false
maxPods: 60
"""


def _cni(number: int) -> str:
    return f"""{{"cniVersion": "0.4.0", "name": "podnet", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pod_range(number)}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"""

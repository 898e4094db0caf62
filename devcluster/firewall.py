"""NetworkPolicies, enforced on the real nodes: the bridge plugin that connects the pods knows none.

By kube-router's firewall, which works with iptables and ipset. kube-network-policies would be smaller, but it hands packets to a
program by nftables' `queue`, which not every kernel is built with (CONFIG_NFT_QUEUE).
"""

from __future__ import annotations

from devcluster import paths
from devcluster.commands import run
from devcluster.console import step
from devcluster.controlplane import wait_for
from devcluster.network import SERVICE_RANGE
from devcluster.node import Node
from devcluster.process import Process
from devcluster.programs import program

# Program -> Debian package that brings it.
NEEDED = {"ipset": "ipset"}
CHAIN = "KUBE-ROUTER-FORWARD"


def start(node: Node) -> None:
    process = Process(f"{node.name}-kube-router")
    if process.pid() and _works(node):
        return
    process.stop()
    with step(f"enforcing network policies on {node.name}", "3 s"):
        # Pods of one node talk over its bridge: without this iptables never sees their packets.
        run(*node.within(), "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        process.start(
            [
                *node.within(), program("kube-router"), "--run-firewall=true", "--run-router=false",
                "--run-service-proxy=false", f"--kubeconfig={paths.KUBECONFIG}", f"--hostname-override={node.name}",
                f"--service-cluster-ip-range={SERVICE_RANGE}", "--health-port=0",
            ]
        )  # fmt: skip
        wait_for(lambda: _works(node), 60, f"the firewall of {node.name}", process.log)


def _works(node: Node) -> bool:
    return CHAIN in run(*node.within(), "iptables", "-S", "FORWARD", check=False)

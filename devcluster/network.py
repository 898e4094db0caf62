"""The cluster's networks: one bridge in a namespace without an uplink, one namespace a node, routes between the pods.

Nothing here can reach the machine's own interfaces: there is no masquerade and no default route out of the control
plane's namespace.
"""

from __future__ import annotations

from devcluster.commands import CONTROL_PLANE_NETNS, inside, netns_path, run, succeeds

MAX_NODES = 8
API_SERVER_IP = "172.31.240.1"
SERVICE_IP = "10.96.0.1"
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
BRIDGE = "kb0"


def node_ip(number: int) -> str:
    return f"172.31.240.{10 + number}"


def pod_range(number: int) -> str:
    return f"10.244.{number}.0/24"


def ensure_control_plane() -> None:
    kcp = _namespace(CONTROL_PLANE_NETNS)
    if not succeeds(*kcp, "ip", "link", "show", BRIDGE):
        run(*kcp, "ip", "link", "add", BRIDGE, "type", "bridge")
        run(*kcp, "ip", "addr", "add", f"{API_SERVER_IP}/24", "dev", BRIDGE)
    run(*kcp, "ip", "link", "set", "lo", "up")
    run(*kcp, "ip", "link", "set", BRIDGE, "up")
    run(*kcp, "sysctl", "-qw", "net.ipv4.ip_forward=1")


def ensure_node(number: int) -> None:
    """The node's namespace, its wire to the bridge, and the routes to the other nodes' pods."""
    name, kcp = f"n{number}", inside(CONTROL_PLANE_NETNS)
    node = _namespace(name)
    run(*node, "ip", "link", "set", "lo", "up")
    if not succeeds(*node, "ip", "link", "show", "eth0"):
        run(*kcp, "ip", "link", "del", f"v{number}", check=False)  # half a pair of an interrupted start
        run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            name,
            "type",
            "veth",
            "peer",
            "name",
            f"v{number}",
            "netns",
            CONTROL_PLANE_NETNS,
        )
        run(*node, "ip", "addr", "add", f"{node_ip(number)}/24", "dev", "eth0")
    run(*kcp, "ip", "link", "set", f"v{number}", "master", BRIDGE)
    run(*kcp, "ip", "link", "set", f"v{number}", "up")
    run(*node, "ip", "link", "set", "eth0", "up")
    run(*node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    run(*node, "ip", "route", "replace", "default", "via", API_SERVER_IP)
    for other in range(1, MAX_NODES + 1):
        if other != number:
            run(*node, "ip", "route", "replace", pod_range(other), "via", node_ip(other))
    run(*kcp, "ip", "route", "replace", pod_range(number), "via", node_ip(number))


def set_wire(number: int, up: bool) -> None:
    """Cut a node off, or heal it: its end of the wire in the bridge's namespace."""
    run(*inside(CONTROL_PLANE_NETNS), "ip", "link", "set", f"v{number}", "up" if up else "down")


def remove(name: str) -> None:
    if netns_path(name).exists():
        run("ip", "netns", "delete", name, check=False)


def _namespace(name: str) -> list[str]:
    prefix = inside(name)
    if not succeeds(*prefix, "true"):  # absent, or the file of a namespace that is gone
        remove(name)
        run("ip", "netns", "add", name)
    return prefix

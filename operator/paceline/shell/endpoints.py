"""Only the leader takes progress reports: it writes its own address behind the selector-less progress service."""

from __future__ import annotations

from paceline.kube.client import ApiError, Client


async def point_service_at(client: Client, namespace: str, service: str, pod_name: str, pod_ip: str, port: int) -> None:
    """One write at each change of leader; the newest leader wins. Raises ApiError."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "paceline.dev",
            },
        },
        "addressType": "IPv6" if ":" in pod_ip else "IPv4",
        "endpoints": [
            {
                "addresses": [pod_ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod_name, "namespace": namespace},
            }
        ],
        "ports": [{"name": "progress", "port": port, "protocol": "TCP"}],
    }
    try:
        there = await client.get(f"{path}/{service}")
    except ApiError as error:
        if error.code != 404:
            raise
        await client.create(path, body)
        return
    if [e["addresses"] for e in there.get("endpoints") or []] != [
        [pod_ip]
    ]:  # a restart with nothing changed writes nothing
        await client.merge_patch(f"{path}/{service}", body)

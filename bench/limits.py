"""A user that may do all, but whose requests are limited like anybody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paceline.kube.client import ApiError, Client, Json

ACCOUNT = "bench-operator"
_FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


@asynccontextmanager
async def account(client: Client) -> AsyncIterator[str]:
    """A token. Administrators by certificate are exempt from the API server's limits; this account is not."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    binding = {
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}],
    }
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    made: list[tuple[str, Json]] = [
        (accounts, {"metadata": {"name": ACCOUNT}}),
        (bindings, binding),
    ]
    async with _made(client, *made):
        request = {"spec": {"expirationSeconds": 4 * 3600}}
        yield str((await client.create(f"{accounts}/{ACCOUNT}/token", request))["status"]["token"])


@asynccontextmanager
async def few_seats(client: Client) -> AsyncIterator[None]:
    """The API server serves the account two or three requests at a time and refuses the others with 429."""
    limited = {"nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {
        "metadata": {"name": ACCOUNT},
        "spec": {"type": "Limited", "limited": limited | {"limitResponse": {"type": "Reject"}}},
    }
    anything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    subject = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "default", "name": ACCOUNT}}
    schema = {
        "metadata": {"name": ACCOUNT},
        "spec": {
            "priorityLevelConfiguration": {"name": ACCOUNT},
            "matchingPrecedence": 100,
            "rules": [{"subjects": [subject], "resourceRules": [anything]}],
        },
    }
    async with _made(client, (f"{_FLOW}/prioritylevelconfigurations", level), (f"{_FLOW}/flowschemas", schema)):
        await asyncio.sleep(5)  # the API server reads its limits from a watch
        yield


@asynccontextmanager
async def _made(client: Client, *objects: tuple[str, Json]) -> AsyncIterator[None]:
    """Objects by the path of their list, while the context lasts; those that an interrupted run has left are taken over."""
    for path, body in objects:
        try:
            await client.create(path, body)
        except ApiError as error:
            if error.code != 409:
                raise
    try:
        yield
    finally:
        for path, body in objects:
            await client.delete(f"{path}/{body['metadata']['name']}")

"""Objects read over one connection to the API server: kubectl takes a tenth of a second of CPU for each, and tests that wait
read them many times."""

from __future__ import annotations

import functools
import json
from typing import Any
from urllib.parse import urlencode

import urllib3

from paceline.kube import config

# What the tests read, by the names that kubectl takes.
_KINDS = {
    "api/v1": "endpoints events namespaces nodes persistentvolumeclaims persistentvolumes pods resourcequotas services",
    "apis/apiextensions.k8s.io/v1": "customresourcedefinitions",
    "apis/coordination.k8s.io/v1": "leases",
    "apis/discovery.k8s.io/v1": "endpointslices",
    "apis/networking.k8s.io/v1": "networkpolicies",
    "apis/paceline.dev/v1alpha1": "compressionjobs trainingjobs",
    "apis/policy/v1": "poddisruptionbudgets",
}
_PATHS = {plural: api for api, plurals in _KINDS.items() for plural in plurals.split()}
_SHORT = {
    "cpj": "compressionjobs",
    "crd": "customresourcedefinitions",
    "networkpolicy": "networkpolicies",
    "pdb": "poddisruptionbudgets",
    "pv": "persistentvolumes",
    "pvc": "persistentvolumeclaims",
    "quota": "resourcequotas",
    "tj": "trainingjobs",
}


class RefusedError(Exception):
    """The API server said no, or nothing; the message is its own, or kubectl's."""


def read(kind: str, name: str = "", namespace: str = "", selector: str = "") -> Any:
    """An object, or a list of those of a namespace, or of all. Raises RefusedError; KeyError: of no kind listed here."""
    plural = _SHORT.get(kind) or (kind if kind in _PATHS else f"{kind}s")
    path = "/".join(filter(None, (_PATHS[plural], namespace and f"namespaces/{namespace}", plural, name)))
    server, pool = _connection()
    query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
    # An API server that a test restarts may have closed the connection.
    try:
        answer = pool.request(
            "GET", f"{server}/{path}{query}", retries=urllib3.Retry(3, backoff_factor=0.2), timeout=30
        )
    except urllib3.exceptions.HTTPError as error:
        raise RefusedError(str(error)) from error
    if answer.status != 200:
        raise RefusedError(answer.data.decode())
    found = json.loads(answer.data)
    for item in found.get("items", ()):  # as kubectl does: the list alone has the kind
        item["kind"] = found["kind"].removesuffix("List")
    return found


@functools.cache
def _connection() -> tuple[str, urllib3.PoolManager]:
    cluster = config.load()
    return cluster.server, urllib3.PoolManager(ssl_context=cluster.ssl_context())

"""Progress reports as a pod of a job sends them."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

from tests.kube import kubectl


def token(pod, namespace, audience):
    """A token as the kubelet projects it: for an audience, bound to a pod."""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    return json.loads(kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)))["status"]["token"]


class Reporter:
    def __init__(self, operator, tls, namespace):
        self._base = f"https://localhost:{operator.progress_port}/v1alpha1/namespaces/{namespace}/trainingjobs"
        self._context = ssl.create_default_context(cafile=tls / "ca.crt")

    def post(self, name, bearer, body):
        """(HTTP status, answer)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        request = urllib.request.Request(f"{self._base}/{name}/progress", data, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

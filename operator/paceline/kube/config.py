"""Where the API server is and who we are: the pod's service account, else a kubeconfig with certificates or a token."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Projected tokens are renewed by the kubelet at 80 % of their hour; reading the file once a minute is always in time.
TOKEN_REREAD_SECONDS = 60


class ConfigError(Exception):
    """No usable way to reach an API server; the message says what was looked for."""


@dataclass
class Cluster:
    server: str
    ca_data: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = None
    token_file: Path | None = None
    token: str | None = None
    _read_at: float = field(default=0.0, repr=False)

    def bearer(self) -> str | None:
        """The token to send now; re-read as the kubelet renews it."""
        if self.token_file and time.monotonic() - self._read_at > TOKEN_REREAD_SECONDS:
            self.token = self.token_file.read_text(encoding="utf-8").strip()
            self._read_at = time.monotonic()
        return self.token

    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca_data.decode() if self.ca_data else None)
        if self.certificate and self.private_key:
            # ssl reads certificates from files only; this one lives for the length of the call.
            with tempfile.NamedTemporaryFile() as pem:
                pem.write(self.certificate + b"\n" + self.private_key)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context


def load() -> Cluster:
    """In a pod its service account, else $KUBECONFIG or ~/.kube/config. Raises ConfigError."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and "KUBECONFIG" not in os.environ:
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        shown = f"[{host}]" if ":" in host else host
        ca_data = (SERVICE_ACCOUNT / "ca.crt").read_bytes()
        return Cluster(f"https://{shown}:{port}", ca_data=ca_data, token_file=SERVICE_ACCOUNT / "token")
    path = Path(os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)[0]).expanduser()
    if not path.is_file():
        raise ConfigError(f"not in a pod, and there is no kubeconfig at {path}: set KUBECONFIG")
    return from_kubeconfig(yaml.safe_load(path.read_text(encoding="utf-8")))


def from_kubeconfig(document: dict[str, Any]) -> Cluster:
    """The current context of a kubeconfig. Certificates and tokens only: an operator has no one to ask for a login."""

    def named(kind: str, name: str) -> dict[str, Any]:
        for item in document.get(kind + "s") or []:
            if item.get("name") == name:
                return dict(item.get(kind) or {})
        raise ConfigError(f"kubeconfig has no {kind} named {name!r}")

    context = named("context", document.get("current-context") or "")
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    found = Cluster(
        server=cluster["server"],
        ca_data=_data(cluster, "certificate-authority"),
        certificate=_data(user, "client-certificate"),
        private_key=_data(user, "client-key"),
        token=user.get("token"),
        token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
    )
    if not (found.certificate or found.token or found.token_file):
        raise ConfigError(f"user {context['user']!r} of the kubeconfig has neither client certificate nor token")
    return found


def _data(section: dict[str, Any], key: str) -> bytes | None:
    if f"{key}-data" in section:
        return base64.b64decode(section[f"{key}-data"])
    return Path(section[key]).read_bytes() if key in section else None

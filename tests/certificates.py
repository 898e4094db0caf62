"""A certificate authority and a certificate, as the chart makes them: RSA, for one name."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(folder: Path, host: str) -> None:
    """ca.crt, tls.crt and tls.key in ``folder``, for ``host`` and 127.0.0.1, for two days."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test-ca",
        "-days", "2",
    )  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.csr", "-subj", f"/CN={host}")
    (folder / "san").write_text(f"subjectAltName=DNS:{host},IP:127.0.0.1", encoding="utf-8")
    openssl(
        "x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "san", "-out", "tls.crt",
    )  # fmt: skip

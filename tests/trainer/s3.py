"""An S3 server on this machine: versitygw over a directory, built once from its Go module into devcluster's cache."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import paths
from devcluster.commands import require, run

VERSION = "v1.8.0"
KEY, SECRET = "paceline", "paceline-secret"


def program() -> Path:
    """versitygw; the first time a minute or two of `go install`."""
    built = paths.CACHE / f"versitygw-{VERSION}" / "versitygw"
    if not built.exists():
        require([("go", "Go 1.26 or newer, from go.dev or your package manager")])
        module = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOBIN": str(built.parent)}
        run("go", "install", module, env=env)
    return built


@contextlib.contextmanager
def server(folder: Path) -> Iterator[dict[str, str]]:
    """The AWS_* variables of a server with one bucket, `checkpoints`; objects are files of folder/checkpoints."""
    (folder / "checkpoints").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sidecar = folder.parent / "metadata"  # not every file system has extended attributes
    sidecar.mkdir()
    command = [program(), "--quiet", "--port", f"127.0.0.1:{port}", "posix", "--sidecar", sidecar, folder]
    env = {**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    log = folder.parent / f"{folder.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([str(part) for part in command], env=env, stdout=out, stderr=out)
    try:
        _wait_for(port, process, log)
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"versitygw ended: {log.read_text(encoding='utf-8')}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail("versitygw does not listen")

"""Where things lie: a cluster's state in the project, what is worth keeping over clusters in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("PACELINE_STATE", PROJECT / ".state")).resolve()
CACHE = Path(
    os.environ.get("PACELINE_CACHE", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "paceline")
).resolve()

PROGRAMS = CACHE / "bin"
IMAGES = CACHE / "images"
# A node's containerd keeps its images over `down`, as a machine's disk would: 5 GB of torch are unpacked once.
DISKS = CACHE / "disks"

PKI = STATE / "pki"
LOGS = STATE / "log"
PIDS = STATE / "pids"
NODES = STATE / "nodes"
KUBECONFIG = PKI / "admin.kubeconfig"

# Whose cluster runs on this machine: the namespaces have fixed names, so there can be one.
OWNER = Path("/run/paceline/owner")

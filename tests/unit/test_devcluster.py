"""The embedded cluster's own decisions."""

from __future__ import annotations

import os
import subprocess

import pytest

from devcluster import images, network, nodeconfig, packages, paths, process
from devcluster.console import ClusterError


def test_a_recycled_pid_is_never_taken_for_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PIDS", tmp_path)
    ours = process.Process("ours")
    (tmp_path / "ours").write_text(f"{os.getpid()} 12345", encoding="utf-8")
    assert ours.pid() is None
    (tmp_path / "ours").write_text(f"{os.getpid()} {process.start_time(os.getpid())}", encoding="utf-8")
    assert ours.pid() == os.getpid()


def test_a_process_is_started_once_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PIDS", tmp_path / "pids")
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    sleeper = process.Process("sleeper")
    sleeper.start(["sleep", "60"])
    first = sleeper.pid()
    sleeper.start(["sleep", "60"])
    assert sleeper.pid() == first is not None
    sleeper.stop()
    assert sleeper.pid() is None


def test_what_ignores_sigterm_is_killed():
    with subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"], stdout=subprocess.PIPE
    ) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        process.end([stubborn.pid], grace_seconds=0.2)
        assert stubborn.wait(5) == -9


def test_too_little_disk_is_said_with_both_figures(tmp_path):
    with pytest.raises(ClusterError, match=r"1000000 GiB are needed, [\d.]+ GiB are free"):
        packages.check_machine(tmp_path, 1_000_000)


def test_without_root_the_cure_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="CLUSTER=current"):
        packages.check_machine(tmp_path, 0)


def make_project(folder, text="x = 1"):
    (folder / "operator/paceline").mkdir(parents=True)
    for name in ("operator/Dockerfile", "operator/requirements.lock"):
        (folder / name).write_text("", encoding="utf-8")
    (folder / "operator/paceline/a.py").write_text(text, encoding="utf-8")
    return folder


def test_an_image_is_known_by_what_goes_into_it(tmp_path):
    first = make_project(tmp_path / "1")
    (first / "operator/paceline/__pycache__").mkdir()
    (first / "operator/paceline/__pycache__/a.pyc").write_text("cache", encoding="utf-8")
    same, other = make_project(tmp_path / "2"), make_project(tmp_path / "3", "x = 2")
    assert images.content_hash("operator", first) == images.content_hash("operator", same)
    assert images.content_hash("operator", first) != images.content_hash("operator", other)


def test_only_layers_that_a_node_lacks_are_sent():
    assert images.missing(["manifest", "config", "a", "b"], {"config", "a"}) == ["manifest", "config", "b"]


def test_an_image_that_was_not_built_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "IMAGES", tmp_path)
    with pytest.raises(ClusterError, match="build-image"):
        images.find("localhost/paceline-operator:123456789abc")


def test_nodes_have_networks_of_their_own(tmp_path):
    ranges = {network.pod_range(i) for i in range(1, network.MAX_NODES + 1)}
    assert len(ranges) == network.MAX_NODES
    files = nodeconfig.files(2, tmp_path, tmp_path)
    assert "10.244.2.0/24" in files["cni-net.d/10-bridge.conflist"]
    assert "cgroupRoot: /kubelet-n2" in files["kubelet.yaml"]

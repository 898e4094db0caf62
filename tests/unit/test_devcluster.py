"""The embedded cluster's own decisions."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from typer.testing import CliRunner

from devcluster import cli, images, network, nodeconfig, packages, paths, process
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


def test_an_import_that_was_cut_short_is_done_again():
    ref = "localhost/paceline-trainer:123456789abc"
    listing = f"REF TYPE DIGEST SIZE PLATFORMS LABELS\n{ref} application/x sha256:new 5.8 GiB linux/amd64 -\n"
    before = images.names_of(listing + f"{images.released(ref)} application/x sha256:old 5.8 GiB linux/amd64 -\n")
    assert not images.loaded(ref, {})
    assert not images.loaded(ref, images.names_of(listing))
    assert not images.loaded(ref, before)
    assert images.loaded(ref, before | {images.released(ref): "sha256:new"})


def test_an_earlier_build_goes_with_the_name_that_the_runtime_gave_it():
    there = {
        "localhost/x:new": "sha256:m2",
        "sha256:c2": "sha256:m2",
        "sha256:c1": "sha256:m1",
        "localhost/y:1": "sha256:m3",
    }
    assert images.nameless(there) == ["sha256:c1"]


def lay_out(folder, *refs):
    """An OCI layout as builds leave it: one layer that all share and one thin layer each. Returns the thin blobs."""
    store = folder / "blobs/sha256"
    store.mkdir(parents=True)
    manifests, thin = [], []
    for ref in refs:
        manifest = {"config": {"digest": f"sha256:c-{ref[-1]}"}, "layers": [{"digest": "sha256:heavy"}]}
        manifest["layers"].append({"digest": f"sha256:thin-{ref[-1]}"})
        data = json.dumps(manifest)
        for name, text in {f"m-{ref[-1]}": data, f"c-{ref[-1]}": "", "heavy": "", f"thin-{ref[-1]}": ""}.items():
            (store / name).write_text(text, encoding="utf-8")
        annotations = {images.REF_NAME: ref}
        manifests.append({"digest": f"sha256:m-{ref[-1]}", "size": len(data), "annotations": annotations})
        thin.append(store / f"thin-{ref[-1]}")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}), encoding="utf-8")
    return thin


def test_the_newest_build_counts_and_older_ones_leave_only_what_is_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "IMAGES", tmp_path)
    monkeypatch.setattr(images, "buildah", lambda *_: "")
    old, new = "localhost/paceline-trainer:a", "localhost/paceline-trainer:b"
    old_thin, new_thin = lay_out(tmp_path / "trainer", old, new)
    assert images.built("trainer") == new
    assert list(images.find(new).blobs) == ["sha256:m-b", "sha256:c-b", "sha256:heavy", "sha256:thin-b"]
    images._drop_older("trainer", new)
    assert new_thin.exists()
    assert not old_thin.exists()
    assert len(json.loads((tmp_path / "trainer/index.json").read_text(encoding="utf-8"))["manifests"]) == 1


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


@pytest.mark.parametrize("name", ["n0", "n9", "x1", "n", ""])
def test_a_node_that_cannot_be_is_said(name):
    result = CliRunner().invoke(cli.app, ["node", "stop", name], env={"CLUSTER": "embedded"})
    assert result.exit_code == 1
    assert "nodes are n1 to n8" in result.output

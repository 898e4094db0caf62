"""Images without a Docker engine: built by buildah, kept blob by blob, brought to the nodes.

A layer that a node has already is not sent again, so a change of the project's own code costs a thin layer.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import paths
from devcluster.commands import run
from devcluster.console import ClusterError, step

BASE = "localhost/paceline-base:1"
DEBIAN = "bookworm"
RUN_ROOT = "/run/paceline/buildah"
REF_NAME = "org.opencontainers.image.ref.name"
# Name -> (Dockerfile, what goes into the image): a change of any of these is another image.
SOURCES = {
    "operator": ("operator/Dockerfile", ["operator/requirements.lock", "operator/paceline"]),
    "trainer": ("trainer_image/Dockerfile", ["trainer_image/requirements.lock", "trainer_image/paceline_trainer"]),
}
# Seconds since 1970 that every source file has in an image.
SOURCE_TIME = 1_767_225_600
USUAL = {"operator": "30 s the first time, then seconds", "trainer": "4-6 minutes the first time, then seconds"}


def buildah(*arguments: str | Path) -> str:
    root = paths.IMAGES / "buildah"
    root.mkdir(parents=True, exist_ok=True)
    return run("buildah", "--storage-driver", "overlay", "--root", root, "--runroot", RUN_ROOT, *arguments)


def layout(name: str) -> Path:
    """The OCI layout of an image: its blobs by digest, layers uncompressed; the index says which build it is."""
    return paths.IMAGES / name


def content_hash(name: str, project: Path = paths.PROJECT) -> str:
    """12 hex digits of everything that goes into an image."""
    dockerfile, sources = SOURCES[name]
    digest = hashlib.sha256(BASE.encode())
    for source in [dockerfile, *sources]:
        root = project / source
        files = (
            [root]
            if root.is_file()
            else sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        )
        if not files:
            raise ClusterError(f"{source} is missing: the {name} image cannot be built")
        for file in files:
            digest.update(f"\0{file.relative_to(project)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def reference(name: str) -> str:
    return f"localhost/paceline-{name}:{content_hash(name)}"


def build(name: str) -> str:
    """The image's reference, after building it if it is not built yet."""
    ref = reference(name)
    with _alone():
        if built(name) != ref:
            _build(name, ref)
    return ref


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time: all of them write the same folders."""
    paths.IMAGES.mkdir(parents=True, exist_ok=True)
    with (paths.IMAGES / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(name: str, ref: str) -> None:
    _build_base()
    dockerfile, _ = SOURCES[name]
    with step(f"building the {name} image", USUAL[name]), _context(name) as context:
        cache = run("uv", "cache", "dir").strip()
        buildah(
            "bud", "--isolation", "chroot", "--layers", "--format", "oci", "--build-arg", f"BASE_IMAGE={BASE}",
            # This machine's certificates and its uv cache are there for the build only; nothing of them stays.
            "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--volume", f"{cache}:/var/cache/uv",
            "--file", context / dockerfile, "--tag", ref, context,
        )  # fmt: skip
        # By skopeo, which leaves layers uncompressed and does not write again those that lie there: 0.3 s instead of
        # 100 s for a change of code. `buildah push` compresses into `oci:`, and empties a `dir:` before it writes.
        store = f"[overlay@{paths.IMAGES / 'buildah'}+{RUN_ROOT}]"
        run(
            "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers",
            f"containers-storage:{store}{ref}", f"oci:{layout(name)}:{ref}",
        )  # fmt: skip
    _drop_older(name, ref)


@contextmanager
def _context(name: str) -> Iterator[Path]:
    """The build's context: a copy of the sources with one fixed time, for buildah takes a file with another time for another
    file, and would build torch's layer anew in every checkout."""
    dockerfile, sources = SOURCES[name]
    with tempfile.TemporaryDirectory(dir=paths.IMAGES) as folder:
        context = Path(folder)
        for source in [dockerfile, *sources]:
            there, here = paths.PROJECT / source, context / source
            here.parent.mkdir(parents=True, exist_ok=True)
            if there.is_dir():
                shutil.copytree(there, here, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(there, here)
        for each in [context, *context.rglob("*")]:
            os.utime(each, (SOURCE_TIME, SOURCE_TIME))
        yield context


def build_pause() -> None:
    """The image of every pod's sandbox, from pause.c."""
    target = paths.IMAGES / "pause.tar"
    if target.exists():
        return
    with step("building the pause image", "3 s"), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run("gcc", "-static", "-Os", "-s", "-o", work / "pause", Path(__file__).with_name("pause.c"))
        (work / "Containerfile").write_text(
            'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n', encoding="utf-8"
        )
        buildah("bud", "--isolation", "chroot", "--format", "docker", "--tag", "localhost/pause:3.10", work)
        partial = target.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        buildah("push", "--quiet", "localhost/pause:3.10", f"docker-archive:{partial}:localhost/pause:3.10")
        partial.rename(target)


def _build_base() -> None:
    """Debian with Python and uv: what the Dockerfiles' BASE_IMAGE is where no registry can be reached."""
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    with (
        step("building the base image (Debian with Python)", "60-90 s"),
        tempfile.TemporaryDirectory(dir=paths.IMAGES) as folder,
    ):
        work = Path(folder)
        packages = "python3,ca-certificates,libgomp1"
        run("debootstrap", "--variant=minbase", f"--include={packages}", DEBIAN, work / "root", _debian_mirror())
        shutil.rmtree(work / "root/var/cache/apt", ignore_errors=True)
        shutil.rmtree(work / "root/var/lib/apt/lists", ignore_errors=True)
        # What `uv` on the PATH is may be a wrapper; uv tells its children where the program itself lies.
        shutil.copy(run("uv", "run", "--no-project", "printenv", "UV").strip(), work / "root/usr/local/bin/uv")
        run("tar", "-C", work / "root", "-cf", work / "root.tar", ".")
        (work / "Containerfile").write_text(
            "FROM scratch\nADD root.tar /\n"
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
            "UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_CACHE_DIR=/var/cache/uv\n",
            encoding="utf-8",
        )
        buildah("bud", "--isolation", "chroot", "--format", "oci", "--tag", BASE, work)


def _debian_mirror() -> str:
    """Where this machine's own apt gets Debian from."""
    for source in ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]:
        text = Path(source).read_text(encoding="utf-8") if Path(source).exists() else ""
        for line in text.splitlines():
            words = line.split()
            if words[:1] in (["URIs:"], ["deb"]):  # a deb line may hold [options] before the address
                return next(word for word in words if "://" in word)
    raise ClusterError("no Debian mirror found in /etc/apt: the base image is made from Debian's packages")


# -- from the cache to the nodes ------------------------------------------------------------------------------------


def built(name: str) -> str:
    """The reference of the build that lies in the cache; empty where there is none."""
    there = _index(name)
    return str(there[-1]["annotations"][REF_NAME]) if there else ""


def _index(name: str) -> list[dict[str, Any]]:
    """The manifests of an image's layout. More than one where the last build was cut short: the newest is the last."""
    file = layout(name) / "index.json"
    manifests: list[dict[str, Any]] = json.loads(file.read_bytes())["manifests"] if file.exists() else []
    return manifests


@dataclass(frozen=True)
class Built:
    """An image in the cache: blob files by digest, manifest and config first."""

    ref: str
    blobs: dict[str, Path]
    manifest_size: int

    @property
    def manifest(self) -> str:
        return next(iter(self.blobs))


def find(ref: str) -> Built:
    """Raises ClusterError where it was not built."""
    name = ref.rpartition("/")[2].partition(":")[0].removeprefix("paceline-")
    if name not in SOURCES or built(name) != ref:
        raise ClusterError(f"image {ref} was not built: python -m devcluster build-image operator|trainer")
    descriptor = _index(name)[-1]
    blobs = layout(name) / "blobs/sha256"
    manifest = json.loads((blobs / _hex(descriptor["digest"])).read_bytes())
    digests = [descriptor["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    return Built(ref, {digest: blobs / _hex(digest) for digest in digests}, descriptor["size"])


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def missing(digests: list[str], there: set[str]) -> list[str]:
    """What must be sent: the manifest and config always (they are small), layers that the node lacks."""
    return digests[:2] + [d for d in digests[2:] if d not in there]


def load(ref: str, node: str, ctr: list[str], disk: Path, in_use: set[str]) -> None:
    """Bring an image to a node and unpack it; earlier builds of it go, but for those ``in_use`` by pods.

    ``ctr`` runs ctr there, ``disk`` is the node's containerd folder.
    """
    there = names_of(run(*ctr, "images", "ls"))
    if not loaded(ref, there):
        image = find(ref)
        send = missing(list(image.blobs), set(run(*ctr, "content", "ls", "-q").split()))
        size = sum(image.blobs[d].stat().st_size for d in send)
        with step(f"bringing {ref} to {node} ({size / 2**20:.0f} MiB)", "seconds; 1-2 minutes where torch is among it"):
            _import(image, send, ctr)
            _share_blobs(disk / "io.containerd.content.v1.content", image)
        run(*ctr, "images", "tag", "--force", ref, released(ref))
    for old in _older(ref, list(there)):
        if old not in in_use:
            run(*ctr, "images", "rm", old)
    for old in nameless(names_of(run(*ctr, "images", "ls"))):
        run(*ctr, "images", "rm", old)


def names_of(listing: str) -> dict[str, str]:
    """Image name -> digest of its manifest, from what `ctr images ls` prints (name, media type, digest, …)."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: row[2] for row in rows}


def nameless(there: dict[str, str]) -> list[str]:
    """Images that only the kubelet's runtime still knows, by their id: with them an earlier build's layers would stay."""
    named = {digest for name, digest in there.items() if not name.startswith("sha256:")}
    return [name for name, digest in there.items() if name.startswith("sha256:") and digest not in named]


def loaded(ref: str, there: dict[str, str]) -> bool:
    """The released name is given last: where an import was cut short, the image's own name is there but not unpacked."""
    return ref in there and there.get(released(ref)) == there[ref]


def _import(image: Built, send: list[str], ctr: list[str]) -> None:
    """An OCI archive with just these blobs, streamed into `ctr images import`."""
    descriptor = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest,
        "size": image.manifest_size,
        "annotations": {"io.containerd.image.name": image.ref},
    }
    small = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "manifests": [descriptor]},
    }
    pipe = subprocess.PIPE
    with subprocess.Popen([*ctr, "images", "import", "-"], stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        try:
            with tarfile.open(fileobj=child.stdin, mode="w|") as tar:
                for name, document in small.items():
                    data = json.dumps(document).encode()
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                for digest in send:
                    tar.add(image.blobs[digest], arcname=f"blobs/{digest.replace(':', '/')}")
            child.stdin.close()
        except BrokenPipeError:
            pass  # its exit code and words tell why
        words = child.stderr.read().decode(errors="replace")
    if child.returncode != 0:
        raise ClusterError(f"{image.ref} could not be imported:\n{words.strip()[-1500:]}")


def _share_blobs(store: Path, image: Built) -> None:
    """The cache and every node's content store hold the same unchanging blobs: one copy on the disk is enough."""
    for digest, ours in image.blobs.items():
        theirs = store / "blobs" / digest.replace(":", "/")
        if (
            theirs.exists()
            and theirs.stat().st_dev == ours.stat().st_dev
            and theirs.stat().st_ino != ours.stat().st_ino
        ):
            link = theirs.with_name(theirs.name + ".link")
            link.unlink(missing_ok=True)
            os.link(ours, link)
            link.replace(theirs)


def released(ref: str) -> str:
    """The name by which manifests and the chart's defaults call this image: its tag is the project's version."""
    version = tomllib.loads((paths.PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return f"{ref.rpartition(':')[0]}:{version}"


def _older(ref: str, refs: list[str]) -> list[str]:
    """Earlier builds of the same image."""
    name = ref.rpartition(":")[0]
    return [r for r in refs if r.rpartition(":")[0] == name and r not in (ref, released(ref))]


def _drop_older(name: str, ref: str) -> None:
    """Earlier builds of this image go; the layers that the new one shares stay."""
    for old in _older(ref, buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()):
        buildah("rmi", "--force", old)
    index = layout(name) / "index.json"
    manifests = [m for m in _index(name) if m["annotations"][REF_NAME] == ref]
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}), encoding="utf-8")
    partial.rename(index)
    wanted = set(find(ref).blobs.values())
    for blob in (layout(name) / "blobs/sha256").iterdir():
        if blob not in wanted:
            blob.unlink()

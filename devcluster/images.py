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

from devcluster import paths
from devcluster.commands import run
from devcluster.console import ClusterError, step

BASE = "localhost/paceline-base:1"
DEBIAN = "bookworm"
# Name -> (Dockerfile, what goes into the image): a change of any of these is another image.
SOURCES = {
    "operator": ("operator/Dockerfile", ["operator/requirements.lock", "operator/paceline"]),
    "trainer": ("trainer_image/Dockerfile", ["trainer_image/requirements.lock", "trainer_image/paceline_trainer"]),
}
USUAL = {"operator": "30 s the first time, then seconds", "trainer": "4-6 minutes the first time, then seconds"}


def buildah(*arguments: str | Path) -> str:
    root = paths.IMAGES / "buildah"
    root.mkdir(parents=True, exist_ok=True)
    return run(
        "buildah", "--storage-driver", "overlay", "--root", root, "--runroot", "/run/paceline/buildah", *arguments
    )


def folder_of(name: str) -> Path:
    """Where an image's blobs lie, by digest, layers uncompressed; `ref` in it says which build it is."""
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
    with step(f"building the {name} image", USUAL[name]):
        dockerfile, _ = SOURCES[name]
        cache = run("uv", "cache", "dir").strip()
        buildah(
            "bud", "--isolation", "chroot", "--layers", "--format", "oci", "--build-arg", f"BASE_IMAGE={BASE}",
            # This machine's certificates and its uv cache are there for the build only; nothing of them stays.
            "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--volume", f"{cache}:/var/cache/uv",
            "--file", paths.PROJECT / dockerfile, "--tag", ref, paths.PROJECT,
        )  # fmt: skip
        # Uncompressed, a layer's digest is the same each time: one that lies there already is not written again.
        # (An `oci:` layout would be compressed whatever one asks for, and decompressed on every node.)
        buildah("push", "--quiet", "--disable-compression", "--format", "oci", ref, f"dir:{folder_of(name)}")
        (folder_of(name) / "ref").write_text(ref, encoding="utf-8")
    _drop_older(name, ref)


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
            if words[:1] == ["URIs:"] or words[:1] == ["deb"]:
                return words[1]
    raise ClusterError("no Debian mirror found in /etc/apt: the base image is made from Debian's packages")


# -- from the cache to the nodes ------------------------------------------------------------------------------------


def built(name: str) -> str:
    """The reference of the build that lies in the cache; empty where there is none."""
    file = folder_of(name) / "ref"
    return file.read_text(encoding="utf-8") if file.exists() else ""


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
    file = folder_of(name) / "manifest.json"
    data = file.read_bytes()
    manifest = json.loads(data)
    digests = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    blobs = {f"sha256:{hashlib.sha256(data).hexdigest()}": file}
    return Built(ref, blobs | {d: folder_of(name) / d.partition(":")[2] for d in digests}, len(data))


def missing(digests: list[str], there: set[str]) -> list[str]:
    """What must be sent: the manifest and config always (they are small), layers that the node lacks."""
    return digests[:2] + [d for d in digests[2:] if d not in there]


def load(ref: str, node: str, ctr: list[str], disk: Path) -> None:
    """Bring an image to a node and unpack it. ``ctr`` runs ctr there, ``disk`` is the node's containerd folder."""
    if ref not in run(*ctr, "images", "ls", "-q").split():
        image = find(ref)
        send = missing(list(image.blobs), set(run(*ctr, "content", "ls", "-q").split()))
        size = sum(image.blobs[d].stat().st_size for d in send)
        with step(f"bringing {ref} to {node} ({size / 2**20:.0f} MiB)", "seconds; 1-2 minutes where torch is among it"):
            _import(image, send, ctr)
            _share_blobs(disk / "io.containerd.content.v1.content", image, send)
    run(*ctr, "images", "tag", "--force", ref, released(ref))
    for old in _older(ref, run(*ctr, "images", "ls", "-q").split()):
        run(*ctr, "images", "rm", old, check=False)  # containers that run from it keep their snapshots


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


def _share_blobs(store: Path, image: Built, digests: list[str]) -> None:
    """The cache and every node's content store hold the same unchanging blobs: one copy on the disk is enough."""
    for digest in digests:
        theirs, ours = store / "blobs" / digest.replace(":", "/"), image.blobs[digest]
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
    wanted = {path.name for path in find(ref).blobs.values()} | {"ref", "version"}
    for entry in folder_of(name).iterdir():
        if entry.name not in wanted:
            entry.unlink()

"""Images without a Docker engine: built by buildah, kept as an OCI layout, brought to the nodes blob by blob.

A layer that a node has already is not sent again, so a change of the project's own code costs a thin layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
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


def layout() -> Path:
    """The OCI layout that holds every built image, layers uncompressed and shared."""
    return paths.IMAGES / "oci"


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
    if ref in _index():
        return ref
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
        # Uncompressed, a layer's digest is the same each time: one that the layout has is not written again.
        buildah("push", "--quiet", "--disable-compression", "--format", "oci", ref, f"oci:{layout()}:{ref}")
    _drop_older(ref)
    return ref


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


# -- from the layout to the nodes ----------------------------------------------------------------------------------


def _index() -> dict[str, dict[str, str]]:
    """Reference -> descriptor of its manifest."""
    file = layout() / "index.json"
    if not file.exists():
        return {}
    manifests = json.loads(file.read_text(encoding="utf-8"))["manifests"]
    return {m["annotations"]["org.opencontainers.image.ref.name"]: m for m in manifests if "annotations" in m}


def blob(digest: str) -> Path:
    return layout() / "blobs" / digest.replace(":", "/")


def blobs_of(ref: str) -> list[str]:
    """Digests of an image: manifest, config, layers. Raises ClusterError where it was not built."""
    descriptor = _index().get(ref)
    if descriptor is None:
        raise ClusterError(f"image {ref} was not built: python -m devcluster build-image operator|trainer")
    manifest = json.loads(blob(descriptor["digest"]).read_text(encoding="utf-8"))
    return [descriptor["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def missing(digests: list[str], there: set[str]) -> list[str]:
    """What must be sent: the manifest and config always (they are small), layers that the node lacks."""
    return digests[:2] + [d for d in digests[2:] if d not in there]


def load(ref: str, name: str, ctr: list[str], disk: Path) -> None:
    """Bring an image to a node and unpack it. ``ctr`` runs ctr there, ``disk`` is the node's containerd folder."""
    if ref in run(*ctr, "images", "ls", "-q").split():
        return
    digests = blobs_of(ref)
    send = missing(digests, set(run(*ctr, "content", "ls", "-q").split()))
    size = sum(blob(d).stat().st_size for d in send)
    with step(f"bringing {ref} to {name} ({size / 2**20:.0f} MiB)", "seconds; 1-2 minutes where torch is among it"):
        _import(ref, send, ctr)
        _share_blobs(disk / "io.containerd.content.v1.content", send)
    _drop_older_on_node(ref, ctr)


def _import(ref: str, send: list[str], ctr: list[str]) -> None:
    """An OCI archive with just these blobs, streamed into `ctr images import`."""
    descriptor = {**_index()[ref], "annotations": {"io.containerd.image.name": ref}}
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    small = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index}
    with subprocess.Popen(
        [*ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
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
                    tar.add(blob(digest), arcname=f"blobs/{digest.replace(':', '/')}")
            child.stdin.close()
        except BrokenPipeError:
            pass  # its exit code and words tell why
        words = child.stderr.read().decode(errors="replace")
    if child.returncode != 0:
        raise ClusterError(f"{ref} could not be imported:\n{words.strip()[-1500:]}")


def _share_blobs(store: Path, digests: list[str]) -> None:
    """The layout, and every node's content store, hold the same unchanging blobs: one copy on the disk is enough."""
    for digest in digests:
        theirs, ours = store / "blobs" / digest.replace(":", "/"), blob(digest)
        if (
            theirs.exists()
            and theirs.stat().st_dev == ours.stat().st_dev
            and theirs.stat().st_ino != ours.stat().st_ino
        ):
            link = theirs.with_name(theirs.name + ".link")
            link.unlink(missing_ok=True)
            os.link(ours, link)
            link.replace(theirs)


def _older(ref: str, refs: list[str]) -> list[str]:
    """Earlier builds of the same image."""
    name = ref.rpartition(":")[0]
    return [r for r in refs if r.rpartition(":")[0] == name and r != ref]


def _drop_older(ref: str) -> None:
    """Earlier builds of this image go; the layers that the new one shares stay."""
    images = buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    for old in _older(ref, images):
        buildah("rmi", "--force", old)
    file = layout() / "index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    gone = _older(ref, list(_index()))
    index["manifests"] = [
        m for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") not in gone
    ]
    file.write_text(json.dumps(index), encoding="utf-8")
    wanted = {digest for each in _index() for digest in blobs_of(each)}
    for entry in (layout() / "blobs" / "sha256").iterdir():
        if f"sha256:{entry.name}" not in wanted:
            entry.unlink()


def _drop_older_on_node(ref: str, ctr: list[str]) -> None:
    for old in _older(ref, run(*ctr, "images", "ls", "-q").split()):
        run(*ctr, "images", "rm", old, check=False)  # containers that run from it keep their snapshots

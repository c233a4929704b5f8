"""The stand-in's air-gap image archive: the images that K3s's own bears too, made of this machine's programs. No registry is asked."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eaves.testing import kubernetes

PAUSE = "docker.io/rancher/mirrored-pause:3.6"
COREDNS = "docker.io/rancher/mirrored-coredns-coredns:1.15.0"
BUSYBOX = "docker.io/rancher/mirrored-library-busybox:1.37.0"
"""K3s's archive has it for its local storage; tests run their pods of it."""
_BUSYBOX = Path("/bin/busybox")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Image(NamedTuple):
    name: str
    entry: Sequence[str]
    files: Mapping[str, bytes | str]
    """Contents by path; a text is where a link leads."""


def want_bundle() -> Path:
    """Made once for the programs that are built; shared by all tests."""
    front, coredns = kubernetes.find_module("front"), kubernetes.find_module("coredns")
    if front is None or coredns is None:
        raise kubernetes.BuildError("the images need programs that are not built: run tools/build_kubernetes.py")
    busybox = _BUSYBOX.read_bytes()
    seed = f"{front.name} {coredns.name} {hashlib.sha256(busybox + Path(__file__).read_bytes()).hexdigest()}"
    folder = kubernetes.cache_folder() / f"images-{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
    bundle = folder / f"k3s-airgap-images-{_architecture()}.tar"
    if bundle.exists():
        return bundle
    applets = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "/bin/busybox" for name in applets if name != "busybox"}
    images = [
        _Image(PAUSE, ["/pause", "pause"], {"pause": (front / "front").read_bytes()}),
        _Image(COREDNS, ["/coredns"], {"coredns": (coredns / "coredns").read_bytes()}),
        _Image(BUSYBOX, [], {"bin/busybox": busybox, "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", **links}),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        _write(file.name, images)
    Path(file.name).replace(bundle)
    return bundle


def _write(path: str, images: Sequence[_Image]) -> None:
    """An OCI image layout in a tar, as ``ctr images import`` takes it."""
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    manifests = []
    for image in images:
        layer = _layer(image.files)
        config = {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": list(image.entry), "Cmd": [] if image.entry else ["/bin/sh"], "Env": [_PATH]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": add(json.dumps(config).encode(), "config.v1+json"),
            "layers": [add(layer, "layer.v1.tar")],
        }
        described = add(json.dumps(manifest).encode(), "manifest.v1+json")
        described["annotations"] = {"io.containerd.image.name": image.name}
        described["platform"] = {"architecture": _architecture(), "os": "linux"}
        manifests.append(described)
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        for digest, content in blobs.items():
            _add(archive, f"blobs/sha256/{digest}", content)


def _layer(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for name, content in files.items():
            if isinstance(content, bytes):
                _add(archive, name, content, 0o755)
                continue
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, content, 0o777
            archive.addfile(link)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

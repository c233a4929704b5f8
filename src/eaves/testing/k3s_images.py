"""The stand-in's air-gap image archive: the images that K3s's own bears too, made of this machine's programs. No registry is asked."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eaves.testing import kubernetes

PAUSE = "docker.io/rancher/mirrored-pause:3.6"
COREDNS = "docker.io/rancher/mirrored-coredns-coredns:1.15.0"
BUSYBOX = "docker.io/rancher/mirrored-library-busybox:1.37.0"
"""K3s's archive has it for its local storage; tests run their pods of it."""
KLIPPER_HELM = "docker.io/rancher/klipper-helm:v0.9.10-build20251111"
"""What K3s's Helm controller runs in its jobs; K3s's archive has it, the stand-in an archive of its own, since it is large."""
_HELM_ENTRY = kubernetes.MODULES.parent / "helm-entry.sh"
_BUSYBOX = Path("/bin/busybox")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Image(NamedTuple):
    name: str
    entry: Sequence[str]
    files: Mapping[str, bytes | str]
    """Contents by path; a text is where a link leads."""
    user: str = ""


def want_bundle() -> Path:
    """Made once for the programs that are built; shared by all tests."""
    front, coredns = kubernetes.find_module("front"), kubernetes.find_module("coredns")
    if front is None or coredns is None:
        raise kubernetes.BuildError("the images need programs that are not built: run tools/build_kubernetes.py")
    return _want(
        f"k3s-airgap-images-{_architecture()}.tar",
        f"{front.name} {coredns.name}",
        lambda: [
            _Image(PAUSE, ["/pause", "pause"], {"pause": (front / "front").read_bytes()}),
            _Image(COREDNS, ["/coredns"], {"coredns": (coredns / "coredns").read_bytes()}),
            _Image(BUSYBOX, [], _busybox_files()),
        ],
    )


def want_helm_bundle() -> Path:
    """The archive of :data:`KLIPPER_HELM`: Helm, and of ours the script that the Helm controller's jobs start."""
    helm = kubernetes.find_module("helm")
    if helm is None:
        raise kubernetes.BuildError("Helm is not built: run tools/build_kubernetes.py")
    entry = _HELM_ENTRY.read_bytes()
    files = {"bin/entry": entry, "bin/helm": (helm / "helm").read_bytes(), "home/klipper-helm/.keep": b""}
    return _want(
        f"k3s-helm-images-{_architecture()}.tar",
        f"{helm.name} {hashlib.sha256(entry).hexdigest()}",
        lambda: [_Image(KLIPPER_HELM, ["/bin/entry"], {**_busybox_files(), **files}, user="1000")],
    )


def _want(name: str, seed: str, make: Callable[[], Sequence[_Image]]) -> Path:
    """The archive of this name and seed, made if there is none; shared by all tests."""
    seed = f"{seed} {hashlib.sha256(_BUSYBOX.read_bytes() + Path(__file__).read_bytes()).hexdigest()}"
    folder = kubernetes.cache_folder() / f"images-{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
    bundle = folder / name
    if bundle.exists():
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        _write(file.name, make())
    Path(file.name).replace(bundle)
    return bundle


def _busybox_files() -> dict[str, bytes | str]:
    applets = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "/bin/busybox" for name in applets if name != "busybox"}
    return {"bin/busybox": _BUSYBOX.read_bytes(), "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", **links}


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
            "config": {
                "Entrypoint": list(image.entry),
                "Cmd": [] if image.entry else ["/bin/sh"],
                "Env": [_PATH],
                "User": image.user,
            },
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

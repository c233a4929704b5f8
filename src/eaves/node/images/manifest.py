"""Manifests and indexes of OCI registries, and which files of a disk image they stand for. Pure.

Sources: the OCI image specification 1.1; ``docs/`` of lf-edge/edge-containers for the layout that EVE calls ECI; KubeVirt's user guide
for container disks (a file in ``/disk`` of an ordinary image).
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from eaves.node.desired.model import ImageFormat
from eaves.node.images.errors import DigestMismatchError, ImageError, ImageUnsupportedError
from eaves.node.images.model import PartRole

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LAYERS = 512
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "riscv64": ("riscv64", ""),
}
_ECI_ROLE = "org.lfedge.eci.role"
_ECI_MEDIA_TYPE = "org.lfedge.eci.mediaType"
_ECI_PATH = "org.lfedge.eci.artifact."
_TITLE = "org.opencontainers.image.title"
_ECI_DISK = "application/vnd.lfedge.disk.layer.v1+"
_ECI_ROLES = {
    "disk-root": PartRole.ROOT,
    "disk-additional": PartRole.DISK,
    "kernel": PartRole.KERNEL,
    "initrd": PartRole.INITRD,
}
_ECI_FILES = {
    "application/vnd.lfedge.eci.kernel.layer.v1": PartRole.KERNEL,
    "application/vnd.lfedge.eci.initrd.layer.v1": PartRole.INITRD,
}
CONTAINER_DISK_FOLDER = "disk"


class Descriptor(Struct, frozen=True, rename="camel"):
    """A blob as a manifest names it; ``digest`` is checked to be a SHA-256, so it may become the name of a file."""

    digest: str
    size: int
    media_type: str = ""
    annotations: Mapping[str, str] | None = None


class Manifest(Struct, frozen=True):
    """What a registry answered: ``digest`` and ``size_bytes`` of the bytes ``raw``; for an index ``child`` is this machine's manifest."""

    raw: bytes
    digest: str
    media_type: str = ""
    child: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = {}

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each once."""
        found = (self.config, *self.layers) if self.config is not None else self.layers
        return tuple({blob.digest: blob for blob in found}.values())

    @property
    def size_bytes(self) -> int:
        return sum(blob.size for blob in self.blobs)


class WantedPart(Struct, frozen=True):
    """One file of a disk image: a layer, or with ``member`` a file in one of the archives ``layers`` (the last that has it).

    ``format`` None = its bytes tell. ``member`` that ends with a slash is the one file in that folder.
    """

    role: PartRole
    layers: tuple[Descriptor, ...]
    member: str = ""
    format: ImageFormat | None = None


class _Platform(Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Child(Struct, frozen=True):
    digest: str
    platform: _Platform | None = None


class _Document(Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: tuple[_Child, ...] | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    annotations: Mapping[str, str] | None = None


class _ConfigPart(Struct, frozen=True):
    labels: Mapping[str, str] | None = msgspec.field(default=None, name="Labels")


class _Config(Struct, frozen=True):
    config: _ConfigPart | None = None


def parse_manifest(raw: bytes, expected: str, element: str) -> Manifest:
    """Check and read a manifest or index. ``expected``: its digest if known. Raises ImageError."""
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    if expected and digest != expected:
        raise DigestMismatchError(
            f"the registry answered {digest} when asked for {expected}",
            element=element,
            resolution="check what the registry serves",
        )
    try:
        document = msgspec.json.decode(raw, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"the registry's manifest is not understood: {error}", element=element) from error
    if document.schema_version == 1:
        raise ImageUnsupportedError("the manifest is of the withdrawn schema 1", element=element)
    if document.manifests is not None:
        child = _choose_platform(document.manifests, element)
        return Manifest(raw, digest, document.media_type, child=child)
    if document.layers is None:
        raise ImageError("the registry's manifest is not understood: it names no layers", element=element)
    manifest = Manifest(
        raw, digest, document.media_type, "", document.config, document.layers, document.annotations or {}
    )
    _check_blobs(manifest.blobs, element)
    return manifest


def parse_labels(raw: bytes) -> Mapping[str, str]:
    """Labels of an image's config; none when it is no config of an image."""
    try:
        part = msgspec.json.decode(raw, type=_Config).config
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return (part.labels if part is not None else None) or {}


def want_parts(manifest: Manifest, labels: Mapping[str, str], element: str) -> tuple[WantedPart, ...]:
    """Which files make the disk image. Raises ImageUnsupportedError for an image that holds no disk."""
    parts = _want_eci_layers(manifest.layers) or _want_eci_paths(manifest, labels)
    if not parts:
        archives = tuple(layer for layer in manifest.layers if is_archive(layer))
        files = tuple(layer for layer in manifest.layers if not is_archive(layer))
        if len(files) == 1 and not archives:
            parts = (WantedPart(PartRole.ROOT, files),)
        elif archives and not files:
            parts = (WantedPart(PartRole.ROOT, archives, f"{CONTAINER_DISK_FOLDER}/"),)
        else:
            raise ImageUnsupportedError(
                f"it holds {len(files)} files and nothing says which is the disk",
                element=element,
                resolution="push one file, or mark them as edge-containers does",
            )
    roots = sum(part.role is PartRole.ROOT for part in parts)
    if roots != 1:
        raise ImageUnsupportedError(f"it has {roots} root disks, one is needed", element=element)
    return parts


def is_archive(layer: Descriptor) -> bool:
    """Whether the layer is a tar archive, compressed or not."""
    kind = layer.media_type
    return kind.endswith((".tar", ".tar+gzip", ".tar.gzip", ".tar+zstd"))


def _want_eci_layers(layers: Iterable[Descriptor]) -> tuple[WantedPart, ...]:
    """One layer a file, told by annotations or media types."""
    parts: list[WantedPart] = []
    for layer in layers:
        notes = layer.annotations or {}
        kind = notes.get(_ECI_MEDIA_TYPE) or layer.media_type
        role = _ECI_ROLES.get(notes.get(_ECI_ROLE, "")) or _role_of(kind, parts)
        if role is None:
            continue
        member = notes.get(_TITLE, "") if is_archive(layer) else ""
        if is_archive(layer) and not member:
            continue
        parts.append(WantedPart(role, (layer,), member, _format_of(kind, role)))
    return tuple(parts)


def _role_of(kind: str, before: list[WantedPart]) -> PartRole | None:
    if kind.startswith(_ECI_DISK):
        has_root = any(part.role is PartRole.ROOT for part in before)
        return PartRole.DISK if has_root else PartRole.ROOT
    # The library appends how the file is packed: .v1+kernel, .v1+cpio, .v1.tar.
    return next((role for start, role in _ECI_FILES.items() if kind.startswith(start)), None)


def _format_of(kind: str, role: PartRole) -> ImageFormat | None:
    if role not in (PartRole.ROOT, PartRole.DISK) or not kind.startswith(_ECI_DISK):
        return None
    try:
        return ImageFormat(kind.removeprefix(_ECI_DISK))
    except ValueError:
        return None


def _want_eci_paths(manifest: Manifest, labels: Mapping[str, str]) -> tuple[WantedPart, ...]:
    """An ordinary image whose labels or annotations say where in its file system the files are."""
    notes = {**labels, **manifest.annotations}
    archives = tuple(layer for layer in manifest.layers if is_archive(layer))
    parts = []
    for name in sorted(key.removeprefix(_ECI_PATH) for key in notes if key.startswith(_ECI_PATH)):
        role = {"root": PartRole.ROOT, "kernel": PartRole.KERNEL, "initrd": PartRole.INITRD}.get(name)
        if role is None and name.startswith("disk-"):
            role = PartRole.DISK
        if role is not None:
            member = str(PurePosixPath("/", notes[_ECI_PATH + name])).lstrip("/")
            parts.append(WantedPart(role, archives, member))
    return tuple(parts)


def _check_blobs(blobs: tuple[Descriptor, ...], element: str) -> None:
    if len(blobs) > _MAX_LAYERS:
        raise ImageUnsupportedError(f"it has {len(blobs)} layers, at most {_MAX_LAYERS} are taken", element=element)
    for blob in blobs:
        if not _DIGEST.fullmatch(blob.digest) or blob.size < 0:
            raise ImageError("the registry's manifest is not understood: a layer has no SHA-256", element=element)


def _choose_platform(children: tuple[_Child, ...], element: str) -> str:
    architecture, variant = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ""))
    fitting = []
    for child in children:
        wanted = child.platform or _Platform()
        if wanted.os == "linux" and wanted.architecture == architecture:
            fitting.append((wanted.variant not in ("", variant), child.digest))
    if not fitting and len(children) == 1 and children[0].platform is None:
        # An artifact runs nowhere by itself and may name no platform.
        fitting.append((False, children[0].digest))
    if not fitting or not _DIGEST.fullmatch(min(fitting)[1]):
        raise ImageUnsupportedError(
            f"the image has no variant for linux/{architecture}", element=element, resolution="build one and push it"
        )
    return min(fitting)[1]

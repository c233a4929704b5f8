"""Names and manifests of OCI images. Pure."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
from typing import Any

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.images.errors import DigestMismatchError, ImageError, ImageUnsupportedError

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "riscv64": ("riscv64", ""),
}


class Source(Struct, frozen=True):
    """Where one image can be fetched: ``repository`` with the registry's host, ``tag`` or ``digest``."""

    repository: str
    tag: str
    digest: str
    datastore: DesiredDatastore

    @property
    def host(self) -> str:
        return self.repository.split("/")[0]

    @property
    def name(self) -> str:
        """``host/path:tag`` or ``host/path@digest``; the digest wins, it is the stronger."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


class Manifest(Struct, frozen=True):
    """What a registry answered: ``digest`` of the bytes; for an index ``child`` is this machine's manifest, else empty."""

    digest: str
    size_bytes: int = 0
    child: str = ""


def check_image(image: DesiredImage) -> None:
    """Raises ImageUnsupportedError for an image that no attempt can bring here."""
    element = f"image {image.name}"
    if image.format is ImageFormat.OTHER:
        raise ImageUnsupportedError(
            "its format is not known", element=element, resolution="use qcow2, raw or a container"
        )
    if not image.datastores:
        raise ImageUnsupportedError("no datastore is known for it", element=element)
    if image.digest and not _DIGEST.fullmatch(image.digest):
        raise ImageUnsupportedError(f"{image.digest!r} is not a sha256 digest", element=element)


def want_source(image: DesiredImage, datastore: DesiredDatastore, pinned: str) -> Source:
    """``pinned``: the digest that the tag had when it was first resolved; empty = resolve it. Raises ImageUnsupportedError."""
    element = f"image {image.name}"
    if datastore.kind is not DatastoreKind.REGISTRY:
        message = f"a container image cannot come from a datastore of kind {datastore.kind}"
        raise ImageUnsupportedError(message, element=element, resolution="use a registry")
    name, _, digest = image.reference.partition("@")
    head, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    path = "/".join(part.strip("/") for part in (datastore.path, head, last) if part.strip("/"))
    repository = f"{datastore.server.rstrip('/')}/{path}"
    if not last or not _REPOSITORY.fullmatch(repository) or (tag and not _TAG.fullmatch(tag)):
        raise ImageUnsupportedError(f"{repository}:{tag} is not the name of an image", element=element)
    if digest and not _DIGEST.fullmatch(digest):
        raise ImageUnsupportedError(f"{digest!r} is not a sha256 digest", element=element)
    return Source(repository, tag or "latest", image.digest or digest or pinned, datastore)


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
        content = msgspec.json.decode(raw)
        if content.get("schemaVersion") == 1:
            raise ImageUnsupportedError("the manifest is of the withdrawn schema 1", element=element)
        if "manifests" in content:
            return Manifest(digest, child=_choose_platform(content["manifests"], element))
        parts = [content["config"], *content["layers"]]
        return Manifest(digest, size_bytes=sum(int(part["size"]) for part in parts))
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError(f"the registry's manifest is not understood: {error}", element=element) from error


def render_auth(host: str, datastore: DesiredDatastore) -> bytes:
    """The auth file of the download program."""
    pair = f"{datastore.username}:{datastore.password.reveal()}".encode()
    return msgspec.json.encode({"auths": {host: {"auth": base64.b64encode(pair).decode()}}})


def _choose_platform(manifests: list[dict[str, Any]], element: str) -> str:
    architecture, variant = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ""))
    fitting = []
    for entry in manifests:
        wanted = entry.get("platform") or {}
        if wanted.get("os") == "linux" and wanted.get("architecture") == architecture:
            fitting.append((wanted.get("variant", "") not in ("", variant), entry["digest"]))
    if not fitting:
        raise ImageUnsupportedError(
            f"the image has no variant for linux/{architecture}", element=element, resolution="build one and push it"
        )
    return str(min(fitting)[1])

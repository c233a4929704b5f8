"""Names of OCI images. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.images.errors import ImageUnsupportedError

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
    def path(self) -> str:
        """The repository on its registry."""
        return self.repository.partition("/")[2]

    @property
    def name(self) -> str:
        """``host/path:tag`` or ``host/path@digest``; the digest wins, it is the stronger."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


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
    return Source(repository, tag or "latest", want_digest(image, pinned), datastore)


def want_digest(image: DesiredImage, pinned: str) -> str:
    """The digest by which the image is asked for; empty while only its tag is known."""
    return image.digest or image.reference.partition("@")[2] or pinned

"""Image references by the grammar of the OCI distribution project: ``[host[:port]/]path[:tag][@digest]``.

Admission checks them here, compile takes them apart. A reference whose first part does not look like a host is on
Docker Hub, as every container tool reads it.
"""

from __future__ import annotations

import re

from msgspec import Struct

DEFAULT_REGISTRY = "docker.io"

_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?"
)
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_MAX_NAME = 255


class ImageReference(Struct, frozen=True):
    """``host`` is empty when the text names none; ``path`` is as written (no implied ``library/``)."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def registry(self) -> str:
        return self.host or DEFAULT_REGISTRY

    @property
    def repository(self) -> str:
        """Path on the registry: Docker Hub keeps one-part names under ``library/``."""
        is_hub = self.registry in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
        return f"library/{self.path}" if is_hub and "/" not in self.path else self.path

    def suffixed(self, path: str) -> str:
        """``path`` with the digest, else the tag, else ``latest``: a digest is exact, so a tag beside it says nothing."""
        return f"{path}@{self.digest}" if self.digest else f"{path}:{self.tag or 'latest'}"


class ImageReferenceError(ValueError):
    """The text is not an image reference; the message says why, for people."""


def parse_image_reference(text: str) -> ImageReference:
    """Takes a reference apart. Raises :class:`ImageReferenceError`."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ImageReferenceError(
            "the digest after @ must be sha256: and 64, or sha512: and 128, lower-case hexadecimal digits"
        )
    head, slash, rest = name.partition("/")
    has_host = bool(slash) and (head == "localhost" or any(c in head for c in ".:") or head != head.lower())
    host, path = (head, rest) if has_host else ("", name)
    if has_host and not _HOST.fullmatch(host):
        raise ImageReferenceError(f"{host!r} is not a host name with an optional port")
    last_slash = path.rfind("/")
    colon = path.find(":", last_slash + 1)
    tag = ""
    if colon >= 0:
        path, tag = path[:colon], path[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise ImageReferenceError(
                "the tag after : must be up to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'"
            )
    if "://" in text:
        raise ImageReferenceError("an image reference has no scheme; leave out everything up to ://")
    if not path or not all(_PATH_PART.fullmatch(part) for part in path.split("/")):
        raise ImageReferenceError(
            "the repository must be parts of lower-case letters and digits, separated inside by '.', '_', '__' or '-',"
            " joined by '/'"
        )
    if len(host) + len(path) + 1 > _MAX_NAME:
        raise ImageReferenceError(f"host and repository together must be at most {_MAX_NAME} characters")
    return ImageReference(host=host, path=path, tag=tag, digest=digest)

"""What daemon and helper say to each other: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

LINE_LIMIT_BYTES = 16 << 20


class Setup(Struct, frozen=True, omit_defaults=True):
    """The first line: the one datastore that this process asks. Secrets travel here, never as arguments.

    ``base``: ``scheme://host[:port]``. ``address``: local address to leave from, empty = the host decides; ``interface``: to leave by,
    whatever routes say. ``proxies``: like the variables ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``; ``pac``: text of a proxy
    auto-configuration file, which decides instead. ``stalled_after_s``: most silence of a server.
    """

    kind: str
    """registry, http or s3."""
    base: str
    folder: str
    """The blob store."""
    username: str = ""
    password: str = ""
    ca_pems: tuple[str, ...] = ()
    region: str = ""
    may_lack_tls: bool = False
    """A registry that answers without TLS is asked so."""
    allow_insecure_auth: bool = False
    address: str = ""
    interface: str = ""
    proxies: Mapping[str, str] = {}
    pac: str = ""
    dial_timeout_s: float = 30.0
    stalled_after_s: float = 600.0
    max_cuts: int = 5
    """Connections that may break in one request before the daemon is told."""
    rate_bytes_per_s: int = 0
    boot_id: str = ""


class ManifestRequest(Struct, frozen=True, tag="manifest"):
    """``reference``: tag or digest. The answer's ``text`` is the manifest."""

    id: int
    repository: str
    reference: str


class BlobRequest(Struct, frozen=True, tag="blob", omit_defaults=True):
    """Bring one blob into the store. ``path``: below the datastore's base; for a registry the repository.

    ``size_bytes``: what it must have, 0 = not known. ``max_bytes``: 0 = any. ``is_trusted``: False for a mirror, which must not spoil
    what others gave.
    """

    id: int
    path: str
    digest: str
    size_bytes: int = 0
    max_bytes: int = 0
    is_trusted: bool = True


class RateRequest(Struct, frozen=True, tag="rate"):
    """From now on this process takes at most so many bytes a second; 0 = no limit."""

    bytes_per_s: int


Request = ManifestRequest | BlobRequest | RateRequest


class Failure(Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    resolution: str = ""
    retryable: bool = True
    retry_after_s: float = 0.0


class Answer(Struct, frozen=True, omit_defaults=True):
    """About request ``id``: its end (``done``), its failure, or how far it is.

    ``received``: bytes that came over the network for it in this process. ``have``: bytes of the blob on disk. ``size``: of the
    blob, 0 = not known.
    """

    id: int
    done: bool = False
    failure: Failure | None = None
    received: int = 0
    have: int = 0
    size: int = 0
    text: str = ""

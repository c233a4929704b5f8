"""Streams of kind ``http``: one connection of HTTP/1.1 to the API of a K3s cluster, as somebody. Pure.

What the controller says when it opens the stream is signed with it; what is in the requests on it says nothing about who calls. The node
adds the ``Impersonate-*`` headers and its own credential, which the controller never sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.wire import http1
from eaves.wire.http1 import Headers, RequestHead

_CREDENTIALS = frozenset({"authorization", "cookie", "host", "forwarded"})
_CLAIMS = ("impersonate-", "x-remote-", "x-forwarded-")
"""Beginnings of headers by which a caller could say who he is."""
_TOKEN_PROTOCOL = "base64url.bearer."  # noqa: S105 - a protocol's name, no secret


class BadIdentityError(EavesError):
    """A name that cannot be told to the cluster."""

    code = "BadIdentity"


class HttpParameters(Struct, frozen=True):
    """The stream request's parameters: which cluster, and as whom."""

    cluster: str
    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}


def plain_headers(headers: Headers) -> Headers:
    """A caller's headers without his credentials, without claims of who he is, and without those about his own connection."""
    kept = []
    for name, value in http1.end_to_end(headers):
        lower = name.lower()
        if lower in _CREDENTIALS or lower.startswith(_CLAIMS):
            continue
        if lower == "sec-websocket-protocol":
            value = _without_token(value)
            if not value:
                continue
        kept.append((name, value))
    return tuple(kept)


def impersonate(head: RequestHead, parameters: HttpParameters, host: str) -> RequestHead:
    """The request as it goes to the cluster. Raises BadIdentityError, HttpError."""
    framing = tuple(entry for entry in head.headers if entry[0].lower() in ("content-length", "transfer-encoding"))
    upgrade = http1.header(head.headers, "upgrade")
    headers = [
        ("Host", host),
        *(entry for entry in plain_headers(head.headers) if entry[0].lower() != "content-length"),
        *framing,
        *identity_headers(parameters),
    ]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    return RequestHead(head.method, head.target, tuple(headers))


def identity_headers(parameters: HttpParameters) -> Iterator[tuple[str, str]]:
    """Who it is, in the headers that a kube-apiserver takes from whom may impersonate. Raises BadIdentityError."""
    yield "Impersonate-User", _value(parameters.user)
    for group in parameters.groups:
        yield "Impersonate-Group", _value(group)
    if parameters.uid:
        yield "Impersonate-Uid", _value(parameters.uid)
    for key, values in parameters.extra.items():
        name = f"Impersonate-Extra-{quote(key, safe='')}"
        for value in values:
            yield name, _value(value)


def _value(text: str) -> str:
    """UTF-8 as header values are here: latin-1 text of the bytes."""
    if not text or not text.isprintable() or text != text.strip():
        raise BadIdentityError("a user, group or extra value is empty or holds characters that no header can carry")
    return text.encode().decode("latin-1")


def _without_token(value: str) -> str:
    """Browsers send their bearer token as a subprotocol of the WebSocket; it is for the controller alone."""
    return ", ".join(
        part for word in value.split(",") if (part := word.strip()) and not part.startswith(_TOKEN_PROTOCOL)
    )

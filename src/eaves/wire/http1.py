"""HTTP/1.1 messages as bytes (RFC 9112): heads, and how far a body goes. Pure; used on both ends of the tunnel to a cluster's API.

The controller writes requests and reads answers, the node reads the heads of requests in order to change them. Both are strict: what two
programs could read in two ways is refused, since one request must never hide inside another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

from msgspec import Struct

from eaves.kit.errors import EavesError

HEAD_LIMIT_BYTES = 64 << 10
"""Of a request's or answer's head; a kube-apiserver takes heads of up to 1 MiB, clients send a few hundred bytes."""
LINE_LIMIT_BYTES = 4096
"""Of the line before a chunk, with its extensions, and of a trailer."""
_END = b"\r\n\r\n"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"[\x21-\x7e\x80-\xff]+")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")

HOP_HEADERS = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers about one connection, which go no further (RFC 9110 7.6.1)."""

Headers = tuple[tuple[str, str], ...]
"""Names as they were written, values as latin-1 text, in their order."""


class HttpError(EavesError):
    """The other side does not speak HTTP/1.1 as it must."""

    code = "BadHttp"


class RequestHead(Struct, frozen=True):
    method: str
    target: str
    """Path and query as they go over the wire."""
    headers: Headers


class ResponseHead(Struct, frozen=True):
    status: int
    reason: str
    headers: Headers
    is_persistent: bool = True
    """Whether the version and headers let the connection be used again."""


class Body(Protocol):
    """Where a message's body ends."""

    is_over: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Content in ``data``, and what is left of it behind the body's end. Raises HttpError."""
        ...


class LengthBody:
    """A body of so many bytes, none included."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_over = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        taken, rest = data[: self._left], data[self._left :]
        self._left -= len(taken)
        self.is_over = self._left == 0
        return ([taken] if taken else []), rest


class EndlessBody:
    """A body up to the end of the connection."""

    is_over = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        return ([data] if data else []), b""


class ChunkedBody:
    """``Transfer-Encoding: chunked``. Trailers are passed over."""

    def __init__(self) -> None:
        self.is_over = False
        self._left = 0
        """Of the current chunk, with the line end behind it."""
        self._line = b""
        self._is_in_trailer = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        content: list[bytes] = []
        while data and not self.is_over:
            if self._left:
                data = self._take_chunk(data, content)
                continue
            line, end, data = (self._line + data).partition(b"\n")
            if len(line) > LINE_LIMIT_BYTES:
                raise HttpError("a line of a chunked body is too long")
            self._line = b"" if end else line
            if end:
                self._take_line(line)
        return content, data

    def _take_chunk(self, data: bytes, content: list[bytes]) -> bytes:
        taken, rest = data[: self._left], data[self._left :]
        inside = self._left - 2
        self._left -= len(taken)
        if piece := taken[: max(inside, 0)]:
            content.append(piece)
        ending = taken[max(inside, 0) :]
        if ending and not b"\r\n"[2 - self._left - len(ending) :].startswith(ending):
            raise HttpError("a chunk does not end where it says")
        return rest

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r"):
            raise HttpError("a line of a chunked body ends without a carriage return")
        text = line[:-1]
        if self._is_in_trailer:
            self.is_over = not text
            return
        match = _SIZE.match(text)
        if match is None or text[match.end() :].strip()[:1] not in (b"", b";"):
            raise HttpError("the size of a chunk is no number")
        size = int(match[0], 16)
        self._is_in_trailer = size == 0
        self._left = size + 2 if size else 0


def split_head(received: bytes) -> tuple[bytes, bytes] | None:
    """The first head in ``received`` and what follows it; None while it is not complete. Raises HttpError when it is too long."""
    at = received.find(_END)
    if at > HEAD_LIMIT_BYTES or (at < 0 and len(received) > HEAD_LIMIT_BYTES):
        raise HttpError(f"the head of a message is longer than {HEAD_LIMIT_BYTES} bytes")
    return None if at < 0 else (received[:at], received[at + len(_END) :])


def parse_request_head(head: bytes) -> RequestHead:
    """Raises HttpError."""
    first, headers = _split_lines(head)
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        raise HttpError("not a request of HTTP/1.1")
    if _TOKEN.fullmatch(parts[0]) is None or _TARGET.fullmatch(parts[1]) is None or not parts[1].startswith("/"):
        raise HttpError("the request's method or path cannot be right")
    return RequestHead(parts[0], parts[1], headers)


def parse_response_head(head: bytes) -> ResponseHead:
    """Raises HttpError."""
    first, headers = _split_lines(head)
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(code) != 3 or not code.isdecimal() or code < "100":
        raise HttpError("not an answer of HTTP/1.1")
    is_persistent = version == "HTTP/1.1" and "close" not in tokens_of(headers, "connection")
    return ResponseHead(int(code), reason, headers, is_persistent)


def encode_request_head(head: RequestHead) -> bytes:
    """Raises HttpError for what would be something else on the wire."""
    if _TOKEN.fullmatch(head.method) is None or _TARGET.fullmatch(head.target) is None:
        raise HttpError("the request's method or path cannot be sent")
    return _encode(f"{head.method} {head.target} HTTP/1.1", head.headers)


def encode_response_head(head: ResponseHead) -> bytes:
    """Raises HttpError for what would be something else on the wire."""
    try:
        reason = head.reason or HTTPStatus(head.status).phrase
    except ValueError:
        reason = ""
    return _encode(f"HTTP/1.1 {head.status} {reason}", head.headers)


def request_body(head: RequestHead) -> Body:
    """The body of a request. Raises HttpError when two programs could read two."""
    return _framed(head.headers) or LengthBody(0)


def response_body(head: ResponseHead, method: str) -> Body:
    """The body of the answer to a request of ``method``. Raises HttpError."""
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return LengthBody(0)
    return _framed(head.headers) or EndlessBody()


def header(headers: Headers, name: str) -> str:
    """Values of a header (lower-case name), joined by commas; empty when there is none."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def tokens_of(headers: Headers, name: str) -> set[str]:
    """The comma-separated words of a header in lower case."""
    return {word for part in header(headers, name).split(",") if (word := part.strip().lower())}


def without(headers: Headers, names: Iterable[str]) -> Headers:
    """The headers that are not of these lower-case names."""
    left_out = frozenset(names)
    return tuple(entry for entry in headers if entry[0].lower() not in left_out)


def end_to_end(headers: Headers) -> Headers:
    """The headers that are not about one connection, as far as they are known or the ``Connection`` header names them."""
    return without(headers, HOP_HEADERS | tokens_of(headers, "connection"))


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def _framed(headers: Headers) -> Body | None:
    lengths = {value.strip() for key, value in headers if key.lower() == "content-length"}
    encodings = [value.strip().lower() for key, value in headers if key.lower() == "transfer-encoding"]
    if encodings:
        if encodings != ["chunked"] or lengths:
            raise HttpError("the length of a body is said in two ways, or in an unknown one")
        return ChunkedBody()
    if not lengths:
        return None
    text = lengths.pop()
    if lengths or not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise HttpError("the length of a body is no number")
    return LengthBody(int(text))


def _split_lines(head: bytes) -> tuple[str, Headers]:
    lines = head.decode("latin-1").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        # A name with a space before the colon, and a line that goes on with the one before, have hidden headers from others before.
        if not colon or _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise HttpError("a header cannot be read")
        headers.append((name, value.strip(" \t")))
    if "\r" in lines[0] or "\n" in lines[0] or "\0" in lines[0]:
        raise HttpError("the first line cannot be read")
    return lines[0], tuple(headers)


def _encode(first: str, headers: Headers) -> bytes:
    for name, value in headers:
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise HttpError(f"header {name[:64]!r} cannot be sent")
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")

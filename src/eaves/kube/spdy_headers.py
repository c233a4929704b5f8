"""Header blocks of SPDY/3: names and values, compressed by zlib with a dictionary that both sides know.

One compression runs through all blocks of a connection's direction, so a block can only be read after those before it. Source:
SPDY Protocol Draft 3.1, 2.6.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping

from eaves.kit.errors import EavesError

BLOCK_LIMIT_BYTES = 32 * 1024
"""Of an unpacked block; real ones take a few hundred bytes, and a packed one could grow a thousandfold."""

_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization"
    " cache-control connection content-base content-encoding content-language content-length content-location content-md5"
    " content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range"
    " if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after"
    " server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status"
)
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TEXTS = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information"
    "204 No Content"
    "301 Moved Permanently"
    "400 Bad Request"
    "401 Unauthorized"
    "403 Forbidden"
    "404 Not Found"
    "500 Internal Server Error"
    "501 Not Implemented"
    "503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(text)) + text.encode() for text in (*_NAMES.split(), *_MORE)) + _TEXTS.encode()
)
"""Adler-32 checksum e3c6a7c2, which every compressed stream names in its head."""


class HeaderBlockError(EavesError):
    """A header block that is none."""

    code = "BadHeaderBlock"


class Packer:
    """Makes the blocks of one direction of a connection."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def pack(self, headers: Mapping[str, str]) -> bytes:
        """Names are written in lower case, as the protocol asks for."""
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Unpacker:
    """Reads the blocks of one direction of a connection."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def unpack(self, packed: bytes) -> dict[str, str]:
        """Names in lower case; of a header with several values the first counts. Raises HeaderBlockError."""
        try:
            block = self._zlib.decompress(packed, BLOCK_LIMIT_BYTES + 1)
        except zlib.error as error:
            raise HeaderBlockError(f"cannot be unpacked: {error}") from error
        if len(block) > BLOCK_LIMIT_BYTES or self._zlib.unconsumed_tail:
            raise HeaderBlockError(f"more than {BLOCK_LIMIT_BYTES} bytes unpacked")
        return _parse_block(block)


def _parse_block(block: bytes) -> dict[str, str]:
    try:
        texts = iter(list(_split_block(block)))
        return {name.decode().lower(): value.split(b"\0")[0].decode() for name, value in zip(texts, texts, strict=True)}
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise HeaderBlockError(f"cannot be read: {error}") from error


def _split_block(block: bytes) -> Iterable[bytes]:
    """Names and values in turn. Raises struct.error and ValueError for a block that is cut or too long."""
    (count,) = struct.unpack_from(">I", block)
    at = 4
    for _ in range(2 * count):
        (length,) = struct.unpack_from(">I", block, at)
        at += 4 + length
        if at > len(block):
            raise ValueError("a text goes beyond the end")
        yield block[at - length : at]
    if at != len(block):
        raise ValueError("bytes are left over")

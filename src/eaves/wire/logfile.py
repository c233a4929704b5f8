"""The gzip file in which logs travel: exactly one member whose header says whose logs they are.

A node fills a :class:`LogFileWriter`; a controller takes a file apart with :func:`decode_gzip`. Python's own gzip module is not
used: it drops the header's comment and name, joins several members, and unpacks without a bound.
"""

from __future__ import annotations

import re
import struct
import zlib

import msgspec
from msgspec import Struct

from eaves.wire import newlog
from eaves.wire.errors import GzipBombError, MalformedGzipError, NewlogError

TARGET_BYTES = 50_000
"""A file is closed when it reaches this size."""
LIMIT_BYTES = 65_536
"""Devices of the field discard larger files, so no controller has to expect one."""
UNPACKED_LIMIT_BYTES = 16 * 1024 * 1024

LINES_LIMIT = 50_000
"""A file of the usual size holds some thousand lines; a record costs a hundred times the bytes of an empty line."""

_MAGIC = b"\x1f\x8b\x08"
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 0x02, 0x04, 0x08, 0x10
_KNOWN_FLAGS = 0x1F
_UNKNOWN_OS = 255
_HEADER_TEXT_LIMIT_BYTES = 4096
_BODY_LIMIT_BYTES = LIMIT_BYTES - 2 * _HEADER_TEXT_LIMIT_BYTES
_MEASURE_EVERY_BYTES = 8192
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})", re.ASCII)


class GzipMember(Struct, frozen=True):
    """A file taken apart. ``name`` and ``comment`` are as written, see :func:`parse_app_name` and :func:`parse_device_comment`."""

    content: bytes
    name: str
    comment: str
    created_s: int
    """Unix seconds, 0 = unknown."""


class DeviceComment(Struct, frozen=True, rename={"device_id": "devID", "version": "eveVersion"}):
    """What the comment of a device's own logs says about it."""

    device_id: str = ""
    image: str = ""
    """Partition that the system runs from."""
    version: str = ""


class LogFileWriter:
    """Collects lines until the compressed file is large enough.

    The compressor is flushed every few kilobytes, since only then is the size known; this costs about 1 % of it.
    """

    def __init__(self, target_bytes: int = TARGET_BYTES) -> None:
        self._target_bytes = target_bytes
        self._compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._parts: list[bytes] = []
        self._compressed_bytes = 0
        self._unmeasured_bytes = 0
        self._crc = 0
        self._size_bytes = 0
        self.lines = 0

    @property
    def is_full(self) -> bool:
        return self._compressed_bytes >= self._target_bytes

    def add(self, line: bytes) -> bool:
        """Take one line of :func:`eaves.wire.newlog.encode_line`; False, and nothing taken, when it has to go to the next file."""
        if not self.is_full and self._worst_bytes(line) > _BODY_LIMIT_BYTES:
            self._measure()
        if self.is_full or (self.lines and self._worst_bytes(line) > _BODY_LIMIT_BYTES):
            return False
        self._keep(self._compressor.compress(line))
        self._crc = zlib.crc32(line, self._crc)
        self._size_bytes += len(line)
        self._unmeasured_bytes += len(line)
        self.lines += 1
        if self._unmeasured_bytes >= _MEASURE_EVERY_BYTES:
            self._measure()
        return True

    def finish(self, created_s: int, *, name: str = "", comment: str = "") -> bytes:
        """The complete file; the writer is used up."""
        self._keep(self._compressor.flush(zlib.Z_FINISH))
        trailer = struct.pack("<II", self._crc, self._size_bytes & 0xFFFFFFFF)
        return b"".join([_encode_header(created_s, name, comment), *self._parts, trailer])

    def _measure(self) -> None:
        if self._unmeasured_bytes:
            self._keep(self._compressor.flush(zlib.Z_SYNC_FLUSH))
            self._unmeasured_bytes = 0

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._compressed_bytes += len(part)

    def _worst_bytes(self, line: bytes) -> int:
        """Size with ``line`` if nothing since the last flush could be compressed; deflate adds at most 5 bytes a stored block."""
        pending_bytes = self._unmeasured_bytes + len(line)
        return self._compressed_bytes + pending_bytes + pending_bytes // 1000 + 64


def encode_gzip(content: bytes, created_s: int, *, name: str = "", comment: str = "") -> bytes:
    """``content`` as one gzip member, of whatever size."""
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = compressor.compress(content) + compressor.flush()
    trailer = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return _encode_header(created_s, name, comment) + body + trailer


def encode_device_comment(comment: DeviceComment) -> str:
    return msgspec.json.encode(comment).decode()


def parse_device_comment(text: str) -> DeviceComment:
    """Who a device's log file says it is from. Raises NewlogError when the comment is not JSON."""
    try:
        return msgspec.json.decode(text.encode(), type=DeviceComment)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NewlogError("comment of the log file is not the expected JSON", details=str(error)) from error


def parse_app_name(text: str) -> str:
    """The display name in a header: ``\\uXXXX`` stands for a character that ISO-8859-1 lacks."""
    name = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    # Characters beyond the first plane come as two escapes, a surrogate pair.
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def decode_gzip(data: bytes, max_bytes: int = UNPACKED_LIMIT_BYTES) -> GzipMember:
    """Unpack a file that is exactly one gzip member. Raises GzipBombError, or MalformedGzipError also for a wrong checksum."""
    flags, created_s, position = _parse_start(data)
    if flags & _FEXTRA:
        position = _skip_extra(data, position)
    name, position = _parse_text(data, position) if flags & _FNAME else ("", position)
    comment, position = _parse_text(data, position) if flags & _FCOMMENT else ("", position)
    if flags & _FHCRC:
        if data[position : position + 2] != struct.pack("<H", zlib.crc32(data[:position]) & 0xFFFF):
            raise MalformedGzipError("checksum of the gzip header is wrong")
        position += 2
    content, trailer = _inflate(memoryview(data)[position:], max_bytes)
    if len(trailer) != 8:
        raise MalformedGzipError("log file is cut off or goes on after its gzip member")
    if struct.unpack("<II", trailer) != (zlib.crc32(content), len(content) & 0xFFFFFFFF):
        raise MalformedGzipError("checksum of the log file is wrong")
    return GzipMember(content, name, comment, created_s)


def decode_log_file(data: bytes, max_bytes: int = UNPACKED_LIMIT_BYTES) -> tuple[GzipMember, newlog.DecodedLines]:
    """A file and its lines."""
    member = decode_gzip(data, max_bytes)
    if member.content.count(b"\n") > LINES_LIMIT:
        raise GzipBombError(
            f"log file holds more than {LINES_LIMIT} lines",
            resolution="send smaller files, at most 50,000 bytes compressed",
        )
    return member, newlog.decode_lines(member.content)


def _encode_header(created_s: int, name: str, comment: str) -> bytes:
    flags = (_FNAME if name else 0) | (_FCOMMENT if comment else 0)
    created_s = created_s if 0 <= created_s < 2**32 else 0
    start = _MAGIC + struct.pack("<BIBB", flags, created_s, 0, _UNKNOWN_OS)
    return start + b"".join(_encode_text(text) for text in (name, comment) if text)


def _encode_text(text: str) -> bytes:
    """ISO-8859-1 with a final NUL; what it lacks is escaped, so that JSON stays the same JSON."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = struct.unpack(f">{len(units) // 2}H", units)
    escaped = "".join(chr(code) if 0 < code < 256 else f"\\u{code:04x}" for code in codes)
    if len(escaped) > _HEADER_TEXT_LIMIT_BYTES:
        raise NewlogError(
            f"text of a log file's header is {len(escaped)} bytes long, most is {_HEADER_TEXT_LIMIT_BYTES}"
        )
    return escaped.encode("latin-1") + b"\0"


def _parse_start(data: bytes) -> tuple[int, int, int]:
    if len(data) < 10 or data[:3] != _MAGIC:
        raise MalformedGzipError("log file is not gzip")
    flags, created_s = struct.unpack_from("<BI", data, 3)
    if flags & ~_KNOWN_FLAGS:
        raise MalformedGzipError(f"gzip header has reserved flags 0x{flags:02x}")
    return flags, created_s, 10


def _skip_extra(data: bytes, position: int) -> int:
    end = position + 2 + int.from_bytes(data[position : position + 2], "little")
    if end > len(data):
        raise MalformedGzipError("gzip header is cut off")
    return end


def _parse_text(data: bytes, position: int) -> tuple[str, int]:
    end = data.find(b"\0", position, position + _HEADER_TEXT_LIMIT_BYTES + 1)
    if end < 0:
        raise MalformedGzipError("text of the gzip header has no end or is too long")
    return data[position:end].decode("latin-1"), end + 1


def _inflate(data: memoryview, max_bytes: int) -> tuple[bytes, bytes]:
    """Content and whatever follows the compressed data. One byte more than allowed is asked for, to tell full from too large."""
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise MalformedGzipError("log file cannot be unpacked", details=str(error)) from error
    if len(content) > max_bytes:
        raise GzipBombError(
            f"log file unpacks to more than {max_bytes} bytes",
            resolution="send smaller files, at most 50,000 bytes compressed",
        )
    if not decompressor.eof:
        raise MalformedGzipError("log file is cut off")
    return content, decompressor.unused_data

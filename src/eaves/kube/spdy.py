"""Frames of SPDY/3.1, in which kubectl carries the connections of a port-forward: bytes to frames and back, without any I/O.

Kubernetes clients speak the dialect of the ``moby/spdystream`` library: it opens streams, sends data and half-closes, pings, and goes
away; it keeps no flow-control windows and ignores settings. So a reader that is slow holds up the whole connection. Source: SPDY Protocol
Draft 3.1, sections 2.2 and 2.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.kube.spdy_headers import HeaderBlockError, Packer, Unpacker

VERSION = 3
CONTROL_LIMIT_BYTES = 64 * 1024
"""Of a control frame that is accepted; the protocol asks for at least 8 KiB."""
DATA_LIMIT_BYTES = (1 << 24) - 1
"""Of one data frame, by its length field."""
_CONTROL = 1 << 31
_ID_MASK = _CONTROL - 1
_FIN, _UNIDIRECTIONAL = 1, 2


class SpdyError(EavesError):
    """The other side does not keep to the protocol; the connection cannot go on."""

    code = "BadSpdy"


class Type(IntEnum):
    """Types of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Reset(IntEnum):
    """Status codes of RST_STREAM."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class SynStream(Struct, frozen=True):
    """Opens a stream. Clients use odd ids, servers even ones, growing."""

    stream_id: int
    headers: Mapping[str, str] = {}
    fin: bool = False
    """Nothing more comes from the one who opens it."""
    unidirectional: bool = False
    associated_id: int = 0
    priority: int = 0


class SynReply(Struct, frozen=True):
    """Accepts a stream."""

    stream_id: int
    headers: Mapping[str, str] = {}
    fin: bool = False


class Headers(Struct, frozen=True):
    """More headers for a stream that is open."""

    stream_id: int
    headers: Mapping[str, str] = {}
    fin: bool = False


class RstStream(Struct, frozen=True):
    """Ends a stream both ways at once."""

    stream_id: int
    status: int = Reset.CANCEL


class Settings(Struct, frozen=True):
    """Values by setting number."""

    values: Mapping[int, int] = {}


class Ping(Struct, frozen=True):
    """Is sent back as it is by the side that did not choose the id: odd ones are the client's."""

    id: int


class GoAway(Struct, frozen=True):
    """No stream after ``last_stream_id`` is or will be served. ``status`` 0 = all is well."""

    last_stream_id: int
    status: int = 0


class WindowUpdate(Struct, frozen=True):
    """So many more bytes may be sent; stream 0 is the connection."""

    stream_id: int
    delta: int


class Data(Struct, frozen=True):
    """Bytes of a stream. A decoder gives the parts of a long frame one by one; ``fin`` (no more comes) is with the last."""

    stream_id: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | Headers | RstStream | Settings | Ping | GoAway | WindowUpdate | Data


class Encoder:
    """Frames to the bytes of one direction of a connection. Frames must be sent in the order of their encoding."""

    def __init__(self) -> None:
        self._packer = Packer()

    def encode(self, frame: Frame) -> bytes:
        """Data must be at most DATA_LIMIT_BYTES long."""
        match frame:
            case Data():
                flags = _FIN if frame.fin else 0
                return struct.pack(">II", frame.stream_id, flags << 24 | len(frame.data)) + frame.data
            case SynStream():
                flags = (_FIN if frame.fin else 0) | (_UNIDIRECTIONAL if frame.unidirectional else 0)
                head = struct.pack(">IIBB", frame.stream_id, frame.associated_id, frame.priority << 5, 0)
                return _control(Type.SYN_STREAM, flags, head + self._packer.pack(frame.headers))
            case SynReply():
                return self._with_headers(Type.SYN_REPLY, frame)
            case Headers():
                return self._with_headers(Type.HEADERS, frame)
            case RstStream():
                return _control(Type.RST_STREAM, 0, struct.pack(">II", frame.stream_id, frame.status))
            case Settings():
                entries = [struct.pack(">II", number, value) for number, value in frame.values.items()]
                return _control(Type.SETTINGS, 0, struct.pack(">I", len(entries)) + b"".join(entries))
            case Ping():
                return _control(Type.PING, 0, struct.pack(">I", frame.id))
            case GoAway():
                return _control(Type.GOAWAY, 0, struct.pack(">II", frame.last_stream_id, frame.status))
            case WindowUpdate():
                return _control(Type.WINDOW_UPDATE, 0, struct.pack(">II", frame.stream_id, frame.delta))

    def _with_headers(self, kind: Type, frame: SynReply | Headers) -> bytes:
        body = struct.pack(">I", frame.stream_id) + self._packer.pack(frame.headers)
        return _control(kind, _FIN if frame.fin else 0, body)


class Decoder:
    """The bytes of one direction of a connection to frames, however they are cut. Holds no more than one control frame."""

    def __init__(self) -> None:
        self._unpacker = Unpacker()
        self._buffer = bytearray()
        self._data_id = 0
        self._data_left = 0
        self._data_fin = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames, and parts of data frames, that are complete now; unknown control frames are passed over. Raises SpdyError."""
        self._buffer += data
        return list(self._each_frame())

    def _each_frame(self) -> Iterator[Frame]:
        while True:
            if self._data_left:
                if not self._buffer:
                    return
                yield self._take_data()
                continue
            if len(self._buffer) < 8:
                return
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & DATA_LIMIT_BYTES
            if not first & _CONTROL:
                self._start_data(first, length, fin=bool(flags & _FIN))
                if not length:
                    yield Data(self._data_id, b"", self._data_fin)
                continue
            if length > CONTROL_LIMIT_BYTES:
                raise SpdyError(f"a control frame of {length} bytes, at most {CONTROL_LIMIT_BYTES} are allowed")
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if (frame := self._parse_control(first >> 16 & 0x7FFF, first & 0xFFFF, flags, body)) is not None:
                yield frame

    def _start_data(self, stream_id: int, length: int, *, fin: bool) -> None:
        if not stream_id:
            raise SpdyError("data for stream 0")
        del self._buffer[:8]
        self._data_id, self._data_left, self._data_fin = stream_id, length, fin

    def _take_data(self) -> Data:
        with memoryview(self._buffer) as view:
            part = bytes(view[: self._data_left])
        del self._buffer[: len(part)]
        self._data_left -= len(part)
        return Data(self._data_id, part, self._data_fin and not self._data_left)

    def _parse_control(self, version: int, kind: int, flags: int, body: bytes) -> Frame | None:
        if version != VERSION:
            raise SpdyError(f"a frame of SPDY version {version}, {VERSION} is spoken here")
        try:
            return self._parse_body(kind, flags, body)
        except struct.error as error:
            raise SpdyError(f"a control frame of type {kind} is too short") from error
        except HeaderBlockError as error:
            raise SpdyError(f"the headers in a control frame of type {kind}: {error}") from error

    def _parse_body(self, kind: int, flags: int, body: bytes) -> Frame | None:
        fin = bool(flags & _FIN)
        match kind:
            case Type.SYN_STREAM:
                stream, associated, priority, _slot = struct.unpack_from(">IIBB", body)
                headers = self._unpacker.unpack(body[10:])
                unidirectional = bool(flags & _UNIDIRECTIONAL)
                return SynStream(_id(stream), headers, fin, unidirectional, associated & _ID_MASK, priority >> 5)
            case Type.SYN_REPLY:
                return SynReply(_id(*struct.unpack_from(">I", body)), self._unpacker.unpack(body[4:]), fin)
            case Type.HEADERS:
                return Headers(_id(*struct.unpack_from(">I", body)), self._unpacker.unpack(body[4:]), fin)
            case Type.RST_STREAM:
                stream, status = struct.unpack_from(">II", body)
                return RstStream(_id(stream), status)
            case Type.SETTINGS:
                (count,) = struct.unpack_from(">I", body)
                entries = struct.iter_unpack(">II", body[4 : 4 + 8 * count])
                # The upper byte of the number holds flags about keeping the value for later connections.
                return Settings({number & DATA_LIMIT_BYTES: value for number, value in entries})
            case Type.PING:
                return Ping(*struct.unpack_from(">I", body))
            case Type.GOAWAY:
                last, status = struct.unpack_from(">II", body)
                return GoAway(last & _ID_MASK, status)
            case Type.WINDOW_UPDATE:
                stream, delta = struct.unpack_from(">II", body)
                return WindowUpdate(stream & _ID_MASK, delta & _ID_MASK)
            case _:
                return None


def _control(kind: Type, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _CONTROL >> 16 | VERSION, kind, flags << 24 | len(body)) + body


def _id(raw: int) -> int:
    """A stream id without its reserved bit. Raises SpdyError for 0, which is no stream."""
    stream_id = raw & _ID_MASK
    if not stream_id:
        raise SpdyError("a frame for stream 0")
    return stream_id

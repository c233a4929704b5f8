"""What travels on a stream of kind ``logs``: an app's lines as they are written, one JSON array a line.

The first is :class:`LiveStart`; a reader that has every line up to there from what was uploaded misses none and shows none twice.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from eaves.wire.tunnel import TunnelProtocolError

LINE_LIMIT_BYTES = 1 << 20
"""A longer line is no line of ours."""

_T = TypeVar("_T")


class LogsParameters(Struct, frozen=True):
    app: str


class LiveStart(Struct, frozen=True, array_like=True):
    """``last_number``: lines up to this one are uploaded, or will be; those after it follow here."""

    last_number: int


class LiveLine(Struct, frozen=True, array_like=True):
    """A line as it will also be uploaded. ``stream`` is stdout or stderr, ``run`` tells which start of the app wrote it."""

    number: int
    time_ns: int
    stream: str
    text: str
    run: str


_encoder = msgspec.json.Encoder()


def encode_record(record: LiveStart | LiveLine) -> bytes:
    return _encoder.encode(record) + b"\n"


class RecordReader:
    """Puts lines together from the pieces in which they come."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> list[bytes]:
        """The whole records that there are with ``data``. Raises TunnelProtocolError for one without an end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT_BYTES:
            raise TunnelProtocolError("a log line without an end")
        return whole


def parse_record(data: bytes, shape: type[_T]) -> _T:
    """Raises TunnelProtocolError."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.MsgspecError as error:
        raise TunnelProtocolError(f"not a record of live logs: {error}") from error

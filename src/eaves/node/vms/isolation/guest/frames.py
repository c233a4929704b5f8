"""What travels between the node and the agent in a small guest.

A frame is a kind, the number of a session and a payload, with the bytes 0x7D and 0x7E escaped as in HDLC (RFC 1662) and 0x7E at its end.
Before its first frame a side aborts what may have been cut off when the other one went, as HDLC does: by an escape before the end. HELLO
carries a number of the node's choice and is answered with it: all sessions from before are ended by it, and all frames from before the
answer are old.

What a side has sent of a session and the other has not yet TAKEN is bounded by WINDOW_BYTES each way, so that a session whose output nobody
reads holds up no other.
"""

from __future__ import annotations

import struct

HELLO, OPEN, INPUT, INPUT_END, SIZE, CLOSE, TAKEN, OUTPUT, ERRORS, EXIT, FAILED = range(11)
"""Kinds. From the node OPEN to CLOSE, from the guest OUTPUT to FAILED; HELLO and TAKEN both ways.

HELLO: 16 bytes; OPEN: flags, columns, rows, the command's words; INPUT, OUTPUT, ERRORS: data; SIZE: columns, rows; TAKEN: how many bytes
of data were handed on; EXIT: the code; FAILED: why nothing runs. The others have no payload.
"""
IS_TERMINAL, HAS_INPUT = 1, 2
DATA_BYTES = 32 << 10
"""Most data of one frame."""
WINDOW_BYTES = 256 << 10
FRAME_BYTES = 512 << 10
"""A frame that is longer than this is none: commands have at most 128 KiB of words, and escaping doubles at most."""

_END, _ESCAPE = b"\x7e", b"\x7d"
ABORT = _ESCAPE + _END
_HEAD = struct.Struct(">BI")
_SIZE = struct.Struct(">HH")
_ORDER = struct.Struct(">BHH")
_COUNT = struct.Struct(">I")


def encode_frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    raw = _HEAD.pack(kind, number) + payload
    return raw.replace(_ESCAPE, b"\x7d\x5d").replace(_END, b"\x7d\x5e") + _END


class Decoder:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Frames that are whole now, as (kind, number, payload). Raises ValueError for a frame without end."""
        *whole, self._rest = (self._rest + data).split(_END)
        if len(self._rest) > FRAME_BYTES:
            raise ValueError("a frame has no end")
        found = []
        for raw in whole:
            if raw.endswith(_ESCAPE):
                continue
            plain = raw.replace(b"\x7d\x5e", _END).replace(b"\x7d\x5d", _ESCAPE)
            if len(plain) >= _HEAD.size:
                kind, number = _HEAD.unpack_from(plain)
                found.append((kind, number, plain[_HEAD.size :]))
        return found


def encode_order(argv: list[bytes], flags: int, columns: int = 80, rows: int = 24) -> bytes:
    """The payload of OPEN. No word may hold a NUL."""
    return _ORDER.pack(flags, columns, rows) + b"\0".join(argv)


def parse_order(payload: bytes) -> tuple[list[bytes], int, int, int]:
    """Words, flags, columns, rows. Raises ValueError."""
    if len(payload) <= _ORDER.size:
        raise ValueError("an order without a command")
    return payload[_ORDER.size :].split(b"\0"), *_ORDER.unpack_from(payload)


def encode_size(columns: int, rows: int) -> bytes:
    return _SIZE.pack(columns, rows)


def parse_size(payload: bytes) -> tuple[int, int]:
    """Columns and rows. Raises ValueError."""
    if len(payload) != _SIZE.size:
        raise ValueError("no size")
    columns, rows = _SIZE.unpack(payload)
    return columns, rows


def encode_count(count: int) -> bytes:
    """The payload of TAKEN and EXIT."""
    return _COUNT.pack(count)


def parse_count(payload: bytes) -> int:
    """Raises ValueError."""
    if len(payload) != _COUNT.size:
        raise ValueError("no number")
    return int(_COUNT.unpack(payload)[0])

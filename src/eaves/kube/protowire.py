"""Protocol buffers' wire format by hand: fields of a message read and written, as far as Kubernetes clients need it.

Nothing is generated, since Kubernetes' own messages are read by small tables (:mod:`eaves.kube.protobuf`) and OpenAPI v2 is
written from its JSON form (:mod:`eaves.kube.swagger_protobuf`). Format: the protocol buffers encoding guide; groups are not used by either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from eaves.kit.errors import EavesError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(EavesError):
    """Bytes that are no message."""

    code = "BadProtobuf"


def decode_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number with its value: an unsigned number for varints and fixed sizes, bytes for the rest. Raises WireError."""
    position = 0
    while position < len(message):
        tag, position = _decode_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("a field has the number 0")
        if kind == VARINT:
            value, position = _decode_varint(message, position)
            yield number, value
            continue
        if kind == BYTES:
            size, position = _decode_varint(message, position)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"a field has the unknown wire type {kind}")
        chunk = message[position : position + size]
        if len(chunk) < size:
            raise WireError("a field ends after its message")
        position += size
        yield number, chunk if kind == BYTES else int.from_bytes(chunk, "little")


def decode_signed(value: int) -> int:
    """A varint of type int32 or int64: two's complement in 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def encode_varint(number: int, value: int) -> bytes:
    """A field of type int64, int32 or bool."""
    return _encode_varint(number << 3 | VARINT) + _encode_varint(value & ((1 << 64) - 1))


def encode_double(number: int, value: float) -> bytes:
    return _encode_varint(number << 3 | FIXED64) + struct.pack("<d", value)


def encode_bytes(number: int, value: bytes) -> bytes:
    """A field of type bytes, or a message."""
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(value)) + value


def encode_text(number: int, value: str) -> bytes:
    return encode_bytes(number, value.encode())


def encode_texts(number: int, values: Iterable[str]) -> bytes:
    """A repeated string."""
    return b"".join(encode_text(number, value) for value in values)


def _decode_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
        shift += 7
    raise WireError("a number does not end")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

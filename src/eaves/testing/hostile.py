"""Pieces of messages that no honest device would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eaves.wire.pb.auth.auth_pb2 import AuthContainer


def change_envelope(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """An envelope with other values in some fields, and the signature of before."""
    container = AuthContainer.FromString(body)
    for field, value in fields.items():
        setattr(container, field, value)
    return container.SerializeToString()


def nest_messages(depth: int) -> bytes:
    """Messages in the first field of each other."""
    data = b""
    for _ in range(depth):
        length, size = b"", len(data)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        data = b"\x0a" + length + bytes([size]) + data
    return data

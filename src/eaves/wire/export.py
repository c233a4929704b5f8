"""What travels on a stream of kind ``export``: JSON lines about the image in the making, the last of which announces it, then its bytes.

The image is a qcow2 file of its own, compressed, made once and kept by the node for a while: who lost the stream asks for the same
``token`` from where it was cut.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from eaves.wire.tunnel import TunnelProtocolError

LINE_LIMIT_BYTES = 4096


class ExportParameters(Struct, frozen=True):
    """``volume``: UUID of a volume; else a disk of the machine ``app``, the root disk where ``disk`` names none.

    ``snapshot``: UUID of one that is there, empty = the present moment. ``token`` and ``offset``: go on with an image that was announced.
    """

    app: str = ""
    disk: str = ""
    volume: str = ""
    snapshot: str = ""
    token: str = ""
    offset: int = 0


class ExportLine(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """``made_bytes``: of an image in the making. One with a ``sha256`` announces ``size_bytes`` less the offset that was asked for.

    ``error``: there will be no image, and why; ``resolution``: what to do about that.
    """

    made_bytes: int = 0
    token: str = ""
    name: str = ""
    format: str = ""
    size_bytes: int = 0
    virtual_bytes: int = 0
    sha256: str = ""
    error: str = ""
    resolution: str = ""


def encode_line(line: ExportLine) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def decode_line(raw: bytes) -> ExportLine:
    """Raises TunnelProtocolError."""
    try:
        return msgspec.json.decode(raw, type=ExportLine)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise TunnelProtocolError(f"no line of an export: {error}") from error

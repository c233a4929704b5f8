"""The channels of ``exec`` and ``attach``, as Kubernetes clients speak them over WebSockets and the tunnel carries them to the node.

A message is one byte for the channel and the data (``v4.channel.k8s.io``); ``v5.channel.k8s.io`` adds a signal that a channel is closed,
by which a command learns that its input is over. The last message, on the error channel, is a ``Status``: success, or a failure whose
reason tells an exit code from everything else. Names and numbers: k8s.io/apimachinery ``pkg/util/remotecommand`` and
k8s.io/client-go ``tools/remotecommand``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec
from msgspec import Struct

V4 = "v4.channel.k8s.io"
V5 = "v5.channel.k8s.io"
SUBPROTOCOLS = (V5, V4)


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255
    """v5: the data is the byte of the channel that is closed."""


class ExecParameters(Struct, frozen=True):
    """Parameters of a stream of kind ``exec``."""

    app: str
    command: Sequence[str]
    stdin: bool = False
    tty: bool = False


class AttachParameters(Struct, frozen=True):
    """Parameters of a stream of kind ``attach``."""

    app: str
    stdin: bool = False
    tty: bool = False


class TerminalSize(Struct, frozen=True, rename="pascal"):
    """In characters."""

    width: int
    height: int


class _Cause(Struct, frozen=True):
    reason: str
    message: str


class _Details(Struct, frozen=True):
    causes: Sequence[_Cause]


class _Status(Struct, frozen=True, omit_defaults=True):
    metadata: dict[str, str]
    status: str
    message: str = ""
    reason: str = ""
    details: _Details | None = None
    code: int = 0


def encode_message(channel: Channel, data: bytes) -> bytes:
    return bytes((channel,)) + data


def encode_exit(code: int) -> bytes:
    """The message that ends the command's stream: its exit code, 128 + number for a signal."""
    if code == 0:
        return _encode(_Status({}, "Success"))
    causes = (_Cause("ExitCode", str(code)),)
    text = f"command terminated with non-zero exit code: exit status {code}"
    return _encode(_Status({}, "Failure", text, "NonZeroExitCode", _Details(causes)))


def encode_failure(message: str, reason: str = "InternalError", code: int = 500) -> bytes:
    """The message that ends the stream of a command that could not be run, or whose end is not known."""
    return _encode(_Status({}, "Failure", message, reason, code=code))


def parse_size(data: bytes) -> TerminalSize | None:
    """The terminal's size in a message of the resize channel; None for anything that is none."""
    try:
        size = msgspec.json.decode(data, type=TerminalSize)
    except msgspec.MsgspecError:
        return None
    return size if 0 < size.width < 1 << 16 and 0 < size.height < 1 << 16 else None


def split_message(message: bytes, limit: int) -> list[bytes]:
    """``message`` as messages of at most ``limit`` bytes on the same channel."""
    if len(message) <= limit:
        return [message]
    head, data = message[:1], message[1:]
    step = limit - 1
    return [head + data[start : start + step] for start in range(0, len(data), step)]


def _encode(status: _Status) -> bytes:
    return encode_message(Channel.ERROR, msgspec.json.encode(status))

"""The join token: all that a machine needs to reach a controller for the first time, as one line of text.

``kubectl eaves onboarding-key create`` makes it, ``eaves node join`` takes it. It stands for the files of a device's ``/config``
folder (``server``, ``root-certificate.pem``, ``onboard.cert.pem``, ``onboard.key.pem``). It holds a private key and is a secret:
the commands pass it by standard input.
"""

from __future__ import annotations

import base64
import zlib

import msgspec
from msgspec import Struct

from eaves.wire.errors import WireError

_PREFIX = "eaves-join-1."
_MAX_BYTES = 64 * 1024


class JoinTokenError(WireError):
    """Text that is not a complete join token."""

    code = "BadJoinToken"


class JoinToken(Struct, frozen=True):
    """Contents of a token. ``server`` is ``host[:port]`` as in ``/config/server``; certificates and key are PEM text."""

    server: str
    root_certificates: str
    onboarding_certificate: str
    onboarding_key: str

    def __repr__(self) -> str:
        return f"JoinToken(server={self.server!r}, …)"


def encode_join_token(token: JoinToken) -> str:
    """One line of letters, digits, ``-``, ``_`` and ``.``."""
    packed = zlib.compress(msgspec.json.encode(token), 9)
    return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_join_token(text: str) -> JoinToken:
    """Read a token; white space around and inside it (line breaks of a terminal) is ignored. Raises JoinTokenError."""
    text = "".join(text.split())
    if not text.startswith(_PREFIX):
        raise JoinTokenError("this is no join token", resolution=f"paste the whole token, it starts with {_PREFIX}")
    body = text.removeprefix(_PREFIX)
    try:
        packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(packed, _MAX_BYTES)
        if not unpacker.eof:
            raise JoinTokenError("the join token is cut off", resolution="paste the whole token")
        return msgspec.json.decode(plain, type=JoinToken)
    except (ValueError, zlib.error, msgspec.DecodeError) as error:
        raise JoinTokenError("the join token is damaged", resolution="paste the whole token again") from error

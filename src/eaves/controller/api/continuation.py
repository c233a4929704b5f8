"""The ``continue`` token of a list: opaque to clients, versioned for us. Pure.

It names the revision the list is pinned to and the last item given. Revision 0 means that the rest comes from the present, which
is what a client gets offered when its own revision is gone.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Struct

from eaves.kube import status

VERSION = "eaves.dev/v1"


class Continuation(Struct, frozen=True, rename={"version": "v", "revision": "rv", "namespace": "ns", "name": "name"}):
    """Where a list goes on."""

    revision: int
    namespace: str
    name: str
    version: str = VERSION

    @property
    def after(self) -> tuple[str, str]:
        return (self.namespace, self.name)


def encode_continuation(token: Continuation) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def decode_continuation(text: str) -> Continuation:
    """Raises ApiError 400 for anything that is not a token of ours."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(raw, type=Continuation)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise status.bad_request(f"continue key is not valid: {error}") from error
    if token.version != VERSION:
        raise status.bad_request(
            f'continue key is not valid: server does not recognize this encoded version "{token.version}"'
        )
    return token

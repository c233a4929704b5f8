"""What handlers of streams see: a request, an offer to accept or refuse, and the stream that comes of it."""

from __future__ import annotations

from typing import Protocol

from eaves.kit.errors import EavesError
from eaves.tunnel.stream import TunnelStream
from eaves.wire.tunnel import Refusal, RefusalCode, StreamRequest


class RefusedError(EavesError):
    """Raised by a handler before it accepts: the stream is not opened, and the controller is told why."""

    code = "StreamRefused"

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message, code=str(code))
        self.refusal = Refusal(code, message)


class Offer(Protocol):
    """A stream that may be had."""

    async def accept(self) -> TunnelStream:
        """Open the stream; from here on it is closed rather than refused. Raises StreamClosedError."""
        ...


class Handler(Protocol):
    """Serves the streams of one kind. It is cancelled when the node stops; nothing may be left of it then."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        """From the request to the end of the stream, which is closed as done when this returns.

        Raises RefusedError before it accepts; any EavesError after that closes the stream as failed, StreamClosedError is an end.
        """
        ...

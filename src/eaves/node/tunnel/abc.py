"""What handlers of streams see: a request, an offer to accept or refuse, and the stream that comes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from eaves.kit.errors import EavesError
from eaves.wire.tunnel import DONE, CloseCause, Refusal, RefusalCode, StreamRequest


class RefusedError(EavesError):
    """Raised by a handler before it accepts: the stream is not opened, and the controller is told why."""

    code = "StreamRefused"

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message, code=str(code))
        self.refusal = Refusal(code, message)


class StreamClosedError(EavesError):
    """The stream has ended; ``cause`` says why."""

    code = "StreamClosed"

    def __init__(self, cause: CloseCause) -> None:
        super().__init__(f"the stream is closed ({cause})")
        self.cause = cause


class NodeStream(ABC):
    """One open stream. One task may receive while others send; sends of several tasks do not mix."""

    @property
    @abstractmethod
    def cause(self) -> CloseCause | None:
        """Why the stream is closed; None while it is open. Known once :meth:`receive` has answered None for the close."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """The next data as one message of the controller; None at the end of its data or of the stream."""

    @abstractmethod
    async def send(self, data: bytes | memoryview) -> None:
        """Send data; waits while the other side does not read. At most ``DATA_LIMIT_BYTES`` travel as one message.

        Raises StreamClosedError.
        """

    @abstractmethod
    async def send_end(self) -> None:
        """Say that no more data comes from this side; receiving goes on. Raises StreamClosedError."""

    @abstractmethod
    async def close(self, cause: CloseCause = DONE) -> None:
        """End the stream both ways; the first cause counts."""


class Offer(Protocol):
    """A stream that may be had."""

    async def accept(self) -> NodeStream:
        """Open the stream; from here on it is closed rather than refused. Raises StreamClosedError."""
        ...


class Handler(Protocol):
    """Serves the streams of one kind. It is cancelled when the node stops; nothing may be left of it then."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        """From the request to the end of the stream, which is closed as done when this returns.

        Raises RefusedError before it accepts; any EavesError after that closes the stream as failed, StreamClosedError is an end.
        """
        ...

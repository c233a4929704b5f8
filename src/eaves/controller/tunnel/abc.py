"""What users of the tunnel see: ask for a stream to a device, read, write, close."""

from __future__ import annotations

from abc import ABC, abstractmethod

from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import DONE, CloseCause, StreamRequest


class TunnelStream(ABC):
    """One open stream. One task may receive while others send; sends of several tasks do not mix."""

    @property
    @abstractmethod
    def cause(self) -> CloseCause | None:
        """Why the stream is closed; None while it is open. Known once :meth:`receive` has answered None for the close."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """The next data as one message of the other side; None at the end of its data or of the stream."""

    @abstractmethod
    async def send(self, data: bytes | memoryview) -> None:
        """Send data; waits while the other side does not read. At most ``DATA_LIMIT_BYTES`` travel as one message.

        Raises StreamClosedError when the stream is closed.
        """

    @abstractmethod
    async def send_end(self) -> None:
        """Say that no more data comes from this side; receiving goes on. Raises StreamClosedError."""

    @abstractmethod
    async def close(self, cause: CloseCause = DONE) -> None:
        """End the stream both ways; the first cause counts. Never raises for a connection that is gone."""


class Tunnel(ABC):
    """The way to devices."""

    @abstractmethod
    def is_connected(self, device_id: DeviceId) -> bool:
        """Whether the node can be called at the moment."""

    @abstractmethod
    async def open(self, device_id: DeviceId, request: StreamRequest) -> TunnelStream:
        """A stream that the node has accepted; whoever opens it closes it.

        Raises TunnelError: NotConnectedError, TooManyStreamsError, RefusedError, OpenTimeoutError, RequestTooLongError.
        """

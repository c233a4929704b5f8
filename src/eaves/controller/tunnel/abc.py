"""What users of the tunnel see: they ask for a stream to a device."""

from __future__ import annotations

from abc import ABC, abstractmethod

from eaves.tunnel.stream import TunnelStream
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import StreamRequest


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

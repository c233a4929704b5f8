"""For a controller without a device side: no node can be reached."""

from __future__ import annotations

from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import NotConnectedError
from eaves.tunnel.stream import TunnelStream
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import StreamRequest


class NoTunnel(Tunnel):
    def is_connected(self, device_id: DeviceId) -> bool:
        return False

    async def open(self, device_id: DeviceId, request: StreamRequest) -> TunnelStream:
        raise NotConnectedError("this controller reaches no nodes")

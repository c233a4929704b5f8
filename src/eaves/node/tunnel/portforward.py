"""Streams of kind ``portforward``: one TCP connection to a port of an app."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from eaves.node.observed import Observations
from eaves.node.tunnel import dialling
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.node.tunnel.apps import accept_and_relay, find_running
from eaves.node.tunnel.dialling import ConnectError
from eaves.wire.tunnel import RefusalCode, StreamRequest, parse_parameters


class Wanted(Struct, frozen=True):
    """The request's parameters."""

    app: str
    port: int


class PortForward(Handler):
    """``netns_dir`` holds the namespaces of containers by app id; what has none there is a machine with addresses."""

    def __init__(self, observations: Observations, netns_dir: Path) -> None:
        self._observations = observations
        self._netns_dir = netns_dir

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, Wanted)
        status = find_running(self._observations, wanted.app)
        netns = self._netns_dir / wanted.app
        try:
            if await asyncio.to_thread(netns.exists):
                connected = await dialling.connect(dialling.LOOPBACK, wanted.port, netns)
            else:
                addresses = [address for interface in status.interfaces for address in interface.addresses]
                connected = await dialling.connect(addresses, wanted.port)
        except ConnectError as error:
            raise RefusedError(RefusalCode.FAILED, error.message) from error
        await accept_and_relay(offer, connected)

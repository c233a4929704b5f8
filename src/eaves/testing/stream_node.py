"""The stream end of a node and nothing else: the real dialler over a device that tests made, so that hundreds fit into one process."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from eaves.node.link import identity, websocket
from eaves.node.link.calls import Controller
from eaves.node.link.client import DIRECT, Route, Server
from eaves.node.link.websocket import SocketBounds
from eaves.node.tunnel.dialler import Dialler
from eaves.testing.device import Device
from eaves.wire import notify

_BOUNDS = SocketBounds(notify.MESSAGE_LIMIT_BYTES, 8, None)


class _Client:
    def __init__(self, port: int, root_pem: bytes) -> None:
        self.server = Server("localhost", port)
        self.context = ssl.create_default_context(cadata=root_pem.decode())


class DeviceLink:
    """What the dialler needs of the node's link."""

    def __init__(self, device: Device, port: int, root_pem: bytes) -> None:
        self.client = _Client(port, root_pem)
        self.keys = self
        self.device_id = device.id
        self.certificate = device.certificate
        self._device = device

    def sign_digest(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self._device.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    async def route_for_stream(self) -> Route:
        return DIRECT

    async def open(self, body: bytes) -> bytes:
        return self._device.open(body)


class StreamNode:
    """Connect it with :meth:`connected`; register handlers with ``dialler``."""

    def __init__(self, device: Device, port: int, root_pem: bytes) -> None:
        self.link = cast("Any", DeviceLink(device, port, root_pem))
        self.dialler = Dialler(cast("Controller", self.link))
        self.heard: list[notify.Notice] = []

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[StreamNode]:
        """With the notify channel open and the dialler at work."""
        connection = await websocket.open_websocket(self.link, "notify", _BOUNDS)
        challenge = notify.parse_challenge(await connection.recv())
        await connection.send(identity.seal_envelope(self.link.keys, notify.want_answer(challenge)))
        self._hear(await connection.recv())

        async def listen() -> None:
            async for message in connection:
                self._hear(message)

        tasks = [asyncio.create_task(listen()), asyncio.create_task(self.dialler.run())]
        try:
            # The dialler takes wishes once its service has begun.
            await asyncio.sleep(0)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await connection.close()

    def _hear(self, message: str | bytes) -> None:
        notice = notify.parse_notice(message)
        self.heard.append(notice)
        if notice.stream is not None:
            self.dialler.dial(notice.stream)
        if notice.hangup is not None:
            self.dialler.hang_up(notice.hangup)

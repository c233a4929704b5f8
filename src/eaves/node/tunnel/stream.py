"""The open stream on the node's side: over the client's WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from eaves.tunnel.stream import CLOSE_TIMEOUT_S, SessionStream, TunnelStream
from eaves.wire.tunnel import FrameKind, Refusal, Session

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


class ClientStream(SessionStream):
    """Over one connection, which the dialler closes. It is an Offer too: accepting is its first frame."""

    def __init__(self, session: Session, connection: ClientConnection) -> None:
        super().__init__(session, "controller")
        # Imported by the dialler's first connection, not by every node at its start.
        from websockets.exceptions import ConnectionClosed

        self._broken = ConnectionClosed
        self._connection = connection
        self.is_accepted = False

    async def accept(self) -> TunnelStream:
        await self._send_frame(FrameKind.ACCEPT)
        self.is_accepted = True
        return self

    async def refuse(self, refusal: Refusal) -> None:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._put(self._session.seal_refusal(refusal))

    async def _take(self) -> bytes:
        try:
            message = await self._connection.recv()
        except self._broken as error:
            raise ConnectionResetError("the controller went") from error
        return message if isinstance(message, bytes) else b""

    async def _put(self, message: bytes) -> None:
        try:
            await self._connection.send(message)
        except self._broken as error:
            raise ConnectionResetError("the controller went") from error

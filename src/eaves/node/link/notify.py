"""The notify channel: a WebSocket by which an Eaves controller wakes this node between polls.

It carries hints alone, so losing it costs time and nothing else. A controller that does not know the channel is asked again only
rarely. The WebSocket library is imported when the channel is first used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.link import identity, pace, websocket
from eaves.node.link.calls import Controller
from eaves.node.link.errors import DialError, UnreachableError
from eaves.node.link.websocket import ForeignControllerError, SocketBounds
from eaves.wire import notify
from eaves.wire.notify import Notice

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = logging.getLogger(__name__)

FIRST_RETRY_S, LIMIT_RETRY_S = 2.0, 300.0
FOREIGN_RETRY_S = 3600.0
"""After a controller showed that it has no such channel."""
_ANSWER_S = 20.0
_BOUNDS = SocketBounds(notify.MESSAGE_LIMIT_BYTES, messages=8, pong_timeout_s=_ANSWER_S)


class NotifyChannel:
    """Keeps the channel open while it is allowed and hands on what comes in."""

    def __init__(self, controller: Controller, hear: Callable[[Notice], None]) -> None:
        self._controller = controller
        self._hear = hear
        self._allowed = asyncio.Event()
        self._forbidden = asyncio.Event()
        self._moved = asyncio.Event()
        self.is_open = False
        self.last_error = ""

    def allow(self, is_allowed: bool) -> None:
        """Open or close the channel, as settings and config say."""
        for event, is_set in ((self._allowed, is_allowed), (self._forbidden, not is_allowed)):
            if is_set:
                event.set()
            else:
                event.clear()

    def reconnect(self) -> None:
        """The node's addresses changed: what is open leads nowhere, which would be noticed late."""
        self._moved.set()

    async def run(self) -> None:
        """Keep the channel open, for ever."""
        # All nodes lose the channel at the same moment when a controller restarts; they must not all come back at the same one.
        backoff = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S, jitter=0.9)
        while True:
            await self._allowed.wait()
            delay_s = 0.0
            try:
                await self._listen(backoff)
            except ForeignControllerError as error:
                self.last_error = str(error)
                delay_s = pace.pick_delay_s(FOREIGN_RETRY_S)
            except EavesError as error:
                self.last_error = str(error)
                delay_s = backoff.next_s()
                log.info("notify channel is closed, polling goes on: error=%s retry_s=%.0f", error, delay_s)
            finally:
                self.is_open = False
            if delay_s:
                await asyncio.sleep(delay_s)

    async def _listen(self, backoff: Backoff) -> None:
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(_ANSWER_S):
                connection = await websocket.open_websocket(self._controller, "notify", _BOUNDS)
        except TimeoutError as error:
            raise DialError("notify channel did not open in time") from error
        try:
            await self._prove(connection)
            self.is_open, self.last_error = True, ""
            backoff.reset()
            log.info("notify channel is open")
            await self._hear_until_forbidden(connection)
        except WebSocketException as error:
            raise UnreachableError(f"notify channel broke: {error}") from error
        except TimeoutError as error:
            raise UnreachableError("the controller sent no challenge in time") from error
        finally:
            await connection.close()

    async def _prove(self, connection: ClientConnection) -> None:
        async with asyncio.timeout(_ANSWER_S):
            challenge = notify.parse_challenge(_text(await connection.recv()))
            answer = notify.want_answer(challenge)
            await connection.send(identity.seal_envelope(self._controller.keys, answer))

    async def _hear_until_forbidden(self, connection: ClientConnection) -> None:
        self._moved.clear()
        closing = [asyncio.create_task(_close_when(event, connection)) for event in (self._forbidden, self._moved)]
        try:
            async for message in connection:
                self._hear(notify.parse_notice(_text(message)))
        finally:
            for task in closing:
                task.cancel()
            await asyncio.wait(closing)
        if not self._forbidden.is_set():
            raise UnreachableError("the controller closed the notify channel")


async def _close_when(event: asyncio.Event, connection: ClientConnection) -> None:
    await event.wait()
    await connection.close()


def _text(message: str | bytes) -> str:
    if isinstance(message, bytes):
        raise notify.MalformedNotifyError("a binary message came where text is due")
    return message

"""Dials back for each stream that the notify channel asks for, proves this node, checks the controller's word, calls the handler.

What a notice says is not believed: it names an id and nothing else. What the stream is for comes signed by the controller, bound to the
key that this node made for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from eaves.kit.errors import EavesError
from eaves.node.link import identity, websocket
from eaves.node.link.calls import Controller
from eaves.node.link.websocket import SocketBounds
from eaves.node.tunnel.abc import Handler, RefusedError, StreamClosedError
from eaves.node.tunnel.stream import ClientStream
from eaves.wire import tunnel
from eaves.wire.tunnel import (
    DONE,
    CloseCause,
    CloseCode,
    FreshKey,
    Opening,
    Refusal,
    RefusalCode,
    Session,
    StreamId,
    TunnelProtocolError,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = logging.getLogger(__name__)

MAX_STREAMS = tunnel.NODE_STREAMS + 32
"""Dialling and open; a little above what a controller asks for, since streams end here a little later than there."""
_BOUNDS = SocketBounds(tunnel.FRAME_LIMIT_BYTES, messages=2, pong_timeout_s=None)
_IDLE_CHECK_S = 60.0


class Dialler:
    """Register handlers, call :meth:`dial` for each notice, and :meth:`run` under the supervisor so that streams end with it."""

    def __init__(self, controller: Controller, *, idle_timeout_s: float = tunnel.IDLE_TIMEOUT_S) -> None:
        self._controller = controller
        self._idle_timeout_s = idle_timeout_s
        self._handlers: dict[str, Handler] = {}
        self._tasks: dict[StreamId, asyncio.Task[None]] = {}
        self._hung_up: set[StreamId] = set()
        self._is_running = False

    def __len__(self) -> int:
        """Streams that are open or being opened."""
        return len(self._tasks)

    def register(self, kind: str, handler: Handler) -> None:
        """Streams of ``kind`` go to ``handler`` from now on."""
        self._handlers[kind] = handler

    def dial(self, text: str) -> None:
        """A stream of this id is wanted. What is no id, known already or too much is left alone; the controller's wish then runs out."""
        try:
            stream_id = tunnel.parse_stream_id(text)
        except TunnelProtocolError as error:
            log.warning("stream is not opened: error=%s", error)
            return
        if not self._is_running or stream_id in self._tasks:
            return
        if len(self._tasks) >= MAX_STREAMS:
            log.warning("stream is not opened: error=%d are open", len(self._tasks))
            return
        task = asyncio.create_task(self._serve(stream_id), name=f"stream {stream_id[:8]}")
        self._tasks[stream_id] = task
        task.add_done_callback(lambda _: self._forget(stream_id))

    def hang_up(self, text: str) -> None:
        """The controller ended the stream of this id. The stream itself says so too, but unread data may stand before it."""
        task = self._tasks.get(StreamId(text))
        if task is not None:
            self._hung_up.add(StreamId(text))
            task.cancel()

    async def run(self) -> None:
        """Until cancelled; then every stream is closed and its handler cancelled."""
        self._is_running = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._is_running = False
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def _forget(self, stream_id: StreamId) -> None:
        del self._tasks[stream_id]
        self._hung_up.discard(stream_id)

    async def _serve(self, stream_id: StreamId) -> None:
        """One stream from the dialling to its end; the one guard of its handler."""
        try:
            async with asyncio.timeout(tunnel.OPEN_TIMEOUT_S):
                connection = await websocket.open_websocket(
                    self._controller, f"{tunnel.EXTENSION_PREFIX}{stream_id}", _BOUNDS
                )
        except TimeoutError:
            log.info("stream is not opened: error=the controller did not answer in time")
            return
        except EavesError as error:
            log.info("stream is not opened: error=%s", error)
            return
        try:
            await self._talk(stream_id, connection)
        finally:
            await connection.close()

    async def _talk(self, stream_id: StreamId, connection: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(tunnel.OPEN_TIMEOUT_S):
                opening, session = await self._shake_hands(stream_id, connection)
        except TimeoutError:
            log.warning("stream is not opened: error=the controller did not answer in time")
            return
        except (EavesError, ConnectionClosed) as error:
            log.warning("stream is not opened: error=%s", error)
            return
        stream = ClientStream(session, connection)
        handler = self._handlers.get(opening.request.kind)
        if handler is None:
            text = f"this node has no streams of kind {opening.request.kind[:64]!r}"
            await stream.refuse(Refusal(RefusalCode.UNSUPPORTED, text))
            return
        watching = asyncio.create_task(self._end_idle(stream, connection), name=f"idle {opening.request.kind}")
        try:
            await self._handle(handler, opening, stream)
            # What was sent may still be on its way to a slow reader; the controller closes when it has taken all.
            with contextlib.suppress(ConnectionClosed):
                async for _ in connection:
                    pass
        finally:
            watching.cancel()

    async def _shake_hands(self, stream_id: StreamId, connection: ClientConnection) -> tuple[Opening, Session]:
        challenge = tunnel.parse_challenge(await connection.recv())
        key = FreshKey()
        proof = tunnel.want_proof(challenge, stream_id, key.public)
        await connection.send(identity.seal_envelope(self._controller.keys, proof))
        sealed = await connection.recv()
        payload = await self._controller.open(sealed if isinstance(sealed, bytes) else b"")
        opening = tunnel.parse_opening(payload, stream_id, self._controller.device_id or "", key.public)
        return opening, Session.of_node(key, opening.controller_key, challenge, stream_id)

    async def _handle(self, handler: Handler, opening: Opening, stream: ClientStream) -> None:
        kind = opening.request.kind
        try:
            await handler.serve(opening.request, stream)
        except asyncio.CancelledError:
            if opening.stream not in self._hung_up:
                await stream.close(CloseCause(CloseCode.STOPPING, "the node's daemon stops"))
            raise
        except StreamClosedError:
            pass
        except RefusedError as error:
            await self._fail(stream, error.refusal)
        except TunnelProtocolError as error:
            await self._fail(stream, Refusal(RefusalCode.INVALID, error.message))
        except EavesError as error:
            log.info("stream failed: kind=%s error=%s details=%s", kind, error, error.details)
            await self._fail(stream, Refusal(RefusalCode.FAILED, str(error)))
        except Exception as error:
            # A defect in one handler must not take the others' streams along; it is the supervisor's guard for this task.
            log.exception("stream failed: kind=%s", kind)
            await self._fail(stream, Refusal(RefusalCode.FAILED, f"{type(error).__name__} on the node"))
        await stream.close(DONE)

    @staticmethod
    async def _fail(stream: ClientStream, refusal: Refusal) -> None:
        if stream.is_accepted:
            await stream.close(CloseCause(CloseCode.FAILED, refusal.message))
        else:
            await stream.refuse(refusal)

    async def _end_idle(self, stream: ClientStream, connection: ClientConnection) -> None:
        """Close a stream on which nothing travels; the controller does the same, unless it is gone without a word."""
        while True:
            await asyncio.sleep(min(_IDLE_CHECK_S, max(0.0, self._idle_timeout_s - stream.idle_s)))
            if stream.idle_s >= self._idle_timeout_s:
                cause = CloseCause(CloseCode.IDLE, f"nothing travelled for {self._idle_timeout_s:.0f} s")
                await stream.close(cause)
                await connection.close()
                return

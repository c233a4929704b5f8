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
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.node.tunnel.stream import ClientStream
from eaves.tunnel.stream import StreamClosedError
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
    StreamRequest,
    TunnelProtocolError,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = logging.getLogger(__name__)

MAX_STREAMS = tunnel.NODE_STREAMS + 32
"""Dialling and open; a little above what a controller asks for, since streams end here a little later than there."""
_BOUNDS = SocketBounds(tunnel.FRAME_LIMIT_BYTES, messages=2, pong_timeout_s=None)
_IDLE_CHECK_S = 60.0


class _Call:
    """One stream, from the notice to its end."""

    def __init__(self, stream_id: StreamId) -> None:
        self.stream_id = stream_id
        self.task: asyncio.Task[None] | None = None
        self.serving: asyncio.Task[None] | None = None
        """The handler at work, or the wait for the reader of what it has sent."""
        self.cause: CloseCause | None = None

    def end(self, cause: CloseCause) -> None:
        self.cause = self.cause or cause
        ending = self.serving or self.task
        if ending is not None:
            ending.cancel()


class Dialler:
    """Register handlers, call :meth:`dial` for each notice, and :meth:`run` under the supervisor so that streams end with it."""

    def __init__(self, controller: Controller, *, idle_timeout_s: float = tunnel.IDLE_TIMEOUT_S) -> None:
        self._controller = controller
        self._idle_timeout_s = idle_timeout_s
        self._handlers: dict[str, Handler] = {}
        self._calls: dict[StreamId, _Call] = {}
        self._is_running = False

    def __len__(self) -> int:
        """Streams that are open or being opened."""
        return len(self._calls)

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
        if not self._is_running or stream_id in self._calls:
            return
        if len(self._calls) >= MAX_STREAMS:
            log.warning("stream is not opened: error=%d are open", len(self._calls))
            return
        call = self._calls[stream_id] = _Call(stream_id)
        call.task = asyncio.create_task(self._serve(call), name=f"stream {stream_id[:8]}")
        call.task.add_done_callback(lambda _: self._calls.pop(stream_id, None))

    def hang_up(self, text: str) -> None:
        """The controller ended the stream of this id. The stream itself says so too, but unread data may stand before it."""
        if (call := self._calls.get(StreamId(text))) is not None:
            call.end(CloseCause(CloseCode.GONE))

    async def run(self) -> None:
        """Until cancelled; then every stream is closed and its handler cancelled."""
        self._is_running = True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._is_running = False
            tasks = [call.task for call in self._calls.values() if call.task is not None]
            for call in list(self._calls.values()):
                call.end(CloseCause(CloseCode.STOPPING, "the node's daemon stops"))
            if tasks:
                await asyncio.wait(tasks)

    async def _serve(self, call: _Call) -> None:
        """One stream from the dialling to its end; the one guard of its handler."""
        try:
            async with asyncio.timeout(tunnel.OPEN_TIMEOUT_S):
                connection = await websocket.open_websocket(
                    self._controller, f"{tunnel.EXTENSION_PREFIX}{call.stream_id}", _BOUNDS
                )
        except TimeoutError:
            log.info("stream is not opened: error=the controller did not answer in time")
            return
        except EavesError as error:
            log.info("stream is not opened: error=%s", error)
            return
        try:
            await self._talk(call, connection)
        finally:
            await connection.close()

    async def _talk(self, call: _Call, connection: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(tunnel.OPEN_TIMEOUT_S):
                opening, session = await self._shake_hands(call.stream_id, connection)
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
            await self._handle(call, handler, opening, stream)
            if call.cause is None and not stream.is_spoilt:
                # What was sent may still be on its way to a slow reader; the controller closes when it has taken all.
                call.serving = asyncio.create_task(_wait_closed(connection), name=f"linger {call.stream_id[:8]}")
                with contextlib.suppress(asyncio.CancelledError):
                    await call.serving
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

    async def _handle(self, call: _Call, handler: Handler, opening: Opening, stream: ClientStream) -> None:
        kind = opening.request.kind
        # A task of its own: what ends it must not cut short the words with which the stream is closed.
        call.serving = asyncio.create_task(_run(handler, opening.request, stream), name=f"{kind} {call.stream_id[:8]}")
        try:
            await call.serving
        except asyncio.CancelledError:
            if call.cause is None:
                raise
            await stream.close(call.cause)
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


async def _wait_closed(connection: ClientConnection) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass


async def _run(handler: Handler, request: StreamRequest, offer: Offer) -> None:
    await handler.serve(request, offer)

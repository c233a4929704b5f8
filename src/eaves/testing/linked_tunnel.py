"""A tunnel without a network: the node's handlers run beside the controller's part, linked by short queues that hold senders back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from eaves.controller.tunnel import errors
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import NotConnectedError, TunnelError
from eaves.node.tunnel import abc as node_side
from eaves.node.tunnel.abc import Handler
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, Refusal, RefusalCode, StreamRequest

QUEUED_MESSAGES = 4
WAIT_S = 90.0
CARRIED_BYTES = 4 << 20


class LinkedTunnel(Tunnel):
    """Every device is one node with these handlers. ``opened`` counts streams, ``stream_count`` those that are not closed."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[_Link] = set()
        self.opened = 0
        self.is_online = True
        self.requests: list[StreamRequest] = []
        self.carried = bytearray()
        """The first of what went either way, as it is under the tunnel's cipher."""
        self._counted = asyncio.Event()

    @property
    def stream_count(self) -> int:
        return len(self._links)

    def is_connected(self, device_id: DeviceId) -> bool:
        return self.is_online

    async def open(self, device_id: DeviceId, request: StreamRequest) -> TunnelStream:
        if not self.is_online:
            raise NotConnectedError("the node is not connected")
        self.requests.append(request)
        link = _Link(self.carried)
        task = link.task = asyncio.create_task(self._serve(request, link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await link.answered
        except asyncio.CancelledError:
            link.hang_up(DONE)
            raise
        self.opened += 1
        return link.controller

    async def wait_count(self, fits: Callable[[int], bool]) -> None:
        """Until the number of streams fits."""
        async with asyncio.timeout(WAIT_S):
            while not fits(self.stream_count):
                self._counted.clear()
                await self._counted.wait()

    def cut(self) -> None:
        """Break every stream, as a lost connection does."""
        for link in list(self._links):
            link.close(CloseCause(CloseCode.CUT, "the connection to the node broke"))

    async def close(self) -> None:
        """End every stream and wait for the handlers; the loop must not end before."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, request: StreamRequest, link: _Link) -> None:
        self._links.add(link)
        self._counted.set()
        handler = self._handlers.get(request.kind)
        try:
            if handler is None:
                link.refuse(Refusal(RefusalCode.UNSUPPORTED, f"no streams of kind {request.kind}"))
                return
            await handler.serve(request, link)
        except node_side.RefusedError as error:
            link.refuse(error.refusal)
        except StreamClosedError:
            pass
        finally:
            if not link.answered.done():
                link.refuse(Refusal(RefusalCode.FAILED, "the node's handler failed"))
            link.close(DONE)
            self._links.discard(link)
            self._counted.set()


class LinkedTunnels(Tunnel):
    """Several nodes, each with handlers of its own."""

    def __init__(self, nodes: Mapping[str, LinkedTunnel]) -> None:
        self._nodes = nodes

    def is_connected(self, device_id: DeviceId) -> bool:
        node = self._nodes.get(device_id)
        return node is not None and node.is_online

    async def open(self, device_id: DeviceId, request: StreamRequest) -> TunnelStream:
        return await self._nodes[device_id].open(device_id, request)

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.close()


class _Link:
    """Both ends of one stream, and the offer of it."""

    def __init__(self, carried: bytearray) -> None:
        self.carried = carried
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cause: CloseCause | None = None
        self.closed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        up, down = _Way(self), _Way(self)
        self.controller = _End(self, down, up, self.hang_up)
        self.node = _End(self, up, down, self.close)

    async def accept(self) -> TunnelStream:
        self.answered.set_result(None)
        return self.node

    def refuse(self, refusal: Refusal) -> None:
        error: TunnelError = errors.RefusedError(refusal)
        self.answered.set_exception(error)

    def hang_up(self, cause: CloseCause) -> None:
        """The controller ends the stream: the notify channel says so too, and the node's handler is cancelled."""
        self.close(cause)
        if self.task is not None:
            self.task.cancel()

    def close(self, cause: CloseCause) -> None:
        if self.cause is None:
            self.cause = cause
            self.closed.set()


class _Way:
    """One direction. What was sent before a close by the sender is still received."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_MESSAGES)
        self._is_over = False

    async def put(self, data: bytes | None) -> bool:
        """False when the stream is closed."""
        if self._link.cause is not None:
            return False
        if data is not None and len(self._link.carried) < CARRIED_BYTES:
            self._link.carried += data
        return await self._until_closed(self._queue.put(data)) is not _CLOSED

    async def take(self) -> bytes | None:
        if self._is_over:
            return None
        if not self._queue.empty():
            found = self._queue.get_nowait()
        else:
            outcome = await self._until_closed(self._queue.get())
            found = outcome if isinstance(outcome, bytes) else None
        self._is_over = found is None
        return found

    async def _until_closed(self, work: object) -> object:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine of either kind
        closed = asyncio.create_task(self._link.closed.wait())
        try:
            await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else _CLOSED
        finally:
            task.cancel()
            closed.cancel()
            await asyncio.wait({task, closed})


_CLOSED = object()


class _End(TunnelStream):
    """``closing`` is how this side ends the stream."""

    def __init__(self, link: _Link, receiving: _Way, sending: _Way, closing: Callable[[CloseCause], None]) -> None:
        self._link, self._receiving, self._sending, self._closing = link, receiving, sending, closing

    @property
    def cause(self) -> CloseCause | None:
        return self._link.cause

    async def receive(self) -> bytes | None:
        return await self._receiving.take()

    async def send(self, data: bytes | memoryview) -> None:
        await self._put(bytes(data))

    async def send_end(self) -> None:
        await self._put(None)

    async def close(self, cause: CloseCause = DONE) -> None:
        self._closing(cause)

    async def _put(self, data: bytes | None) -> None:
        if not await self._sending.put(data):
            raise StreamClosedError(self._link.cause or DONE)

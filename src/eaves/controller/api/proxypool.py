"""Connections to the APIs of clusters through the tunnel, kept for the next request of the same caller.

A :class:`Connection` is HTTP/1.1 over one stream; a :class:`Pool` keeps those that are idle, and bounds how many requests are under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable

import msgspec

from eaves.controller.tunnel.abc import Tunnel
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire import http1
from eaves.wire.clusterstream import HttpParameters
from eaves.wire.http1 import HttpError, ResponseHead
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import DONE, CloseCause, StreamKind, StreamRequest

IDLE_S = 60.0
"""A connection that nobody uses is closed after this; a kube-apiserver closes its own after 90 s and more."""
IDLE_PER_CALLER = 4
IDLE_LIMIT = 256
REQUESTS_PER_CLUSTER = 200
"""Under way at the same time, watches and terminals included; a node has 256 streams for everything."""
REQUESTS_LIMIT = 2000

PoolKey = Hashable


class BrokenError(HttpError):
    """The connection ended before an answer came."""

    code = "ConnectionBroken"


class Connection:
    """One stream to one server. One request at a time."""

    def __init__(self, stream: TunnelStream, key: PoolKey) -> None:
        self.key = key
        self.is_used = False
        """Whether it has carried a request before the current one."""
        self.idle_since_s = 0.0
        self._stream = stream
        self._received = b""
        self._watch: asyncio.Task[bytes | None] | None = None

    async def send(self, data: bytes) -> None:
        """Raises BrokenError."""
        try:
            await self._stream.send(data)
        except StreamClosedError as error:
            raise BrokenError(str(error.cause)) from error

    async def receive(self) -> bytes | None:
        """What comes next, in pieces as they come; None at the end."""
        if self._received:
            data, self._received = self._received, b""
            return data
        if self._watch is not None:
            watch, self._watch = self._watch, None
            return await watch
        return await self._stream.receive()

    async def read_head(self) -> ResponseHead:
        """The head of the answer; interim ones are passed over. Raises BrokenError when none comes, HttpError for what is none."""
        received = b""
        while True:
            while (found := http1.split_head(received)) is None:
                data = await self.receive()
                if data is None:
                    raise BrokenError(str(self._stream.cause or "the server closed the connection"))
                received += data
            raw, received = found
            head = http1.parse_response_head(raw)
            if head.status >= 200 or head.status == 101:
                self._received = received
                return head

    def give_back(self, rest: bytes) -> None:
        """What was received behind the end of an answer."""
        self._received = rest

    async def close(self, cause: CloseCause = DONE) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        await self._stream.close(cause)
        if watch is not None:
            await asyncio.wait({watch})

    @property
    def is_closed(self) -> bool:
        return self._stream.cause is not None

    def start_idle(self) -> bool:
        """Put it aside; False when something is wrong with it. Its end is noticed meanwhile."""
        if self._received or self.is_closed:
            return False
        self.is_used = True
        self.idle_since_s = time.monotonic()
        self._watch = asyncio.create_task(self._stream.receive(), name="idle connection to a cluster")
        return True

    @property
    def is_alive(self) -> bool:
        """Of an idle one: whether the server has neither closed it nor said anything unasked."""
        return self._watch is not None and not self._watch.done()

    def on_end(self, call: Callable[[], None]) -> None:
        """Call back when an idle connection is no longer of use."""
        if self._watch is not None:
            self._watch.add_done_callback(lambda _: call())


class TooBusyError(HttpError):
    """The bound of requests is reached."""

    code = "TooManyRequests"


class Pool:
    """All connections of one controller process. They end with the tunnel's streams, the idle ones at :meth:`stop` too."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._idle: dict[PoolKey, list[Connection]] = {}
        self._busy: Counter[str] = Counter()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Keep no connection any more; those under way are closed when their requests end."""
        self._is_stopping = True
        for connection in [each for idle in self._idle.values() for each in idle]:
            self._forget(connection)

    def __len__(self) -> int:
        """Idle connections."""
        return sum(map(len, self._idle.values()))

    def enter(self, cluster: str) -> None:
        """Count a request. Raises TooBusyError."""
        if self._busy[cluster] >= REQUESTS_PER_CLUSTER or self._busy.total() >= REQUESTS_LIMIT:
            raise TooBusyError(f"{self._busy[cluster]} requests to this cluster are under way")
        self._busy[cluster] += 1

    def leave(self, cluster: str) -> None:
        self._busy[cluster] -= 1
        if not self._busy[cluster]:
            del self._busy[cluster]

    def take_idle(self, device: DeviceId, parameters: HttpParameters) -> Connection | None:
        """A connection of an earlier request of the same caller to the same server, newest first."""
        idle = self._idle.get(_key(device, parameters), [])
        while idle:
            connection = idle.pop()
            if connection.is_alive and time.monotonic() - connection.idle_since_s < IDLE_S:
                return connection
            self._close_soon(connection)
        return None

    async def open(self, device: DeviceId, parameters: HttpParameters) -> Connection:
        """A new connection. Raises TunnelError."""
        request = StreamRequest(StreamKind.HTTP, msgspec.to_builtins(parameters))
        return Connection(await self._tunnel.open(device, request), _key(device, parameters))

    async def put_back(self, connection: Connection) -> None:
        """Keep it for the next request, if there is room and it is well."""
        idle = self._idle.get(connection.key, [])
        is_full = len(idle) >= IDLE_PER_CALLER or len(self) >= IDLE_LIMIT
        if self._is_stopping or is_full or not connection.start_idle():
            await connection.close()
            return
        self._idle.setdefault(connection.key, idle).append(connection)
        timer = asyncio.get_running_loop().call_later(IDLE_S, self._forget, connection)
        connection.on_end(timer.cancel)
        connection.on_end(lambda: self._forget(connection))

    def _forget(self, connection: Connection) -> None:
        """Drop an idle connection; one that is in use again is left alone."""
        idle = self._idle.get(connection.key, [])
        if connection in idle:
            idle.remove(connection)
            self._close_soon(connection)
        if not idle:
            self._idle.pop(connection.key, None)

    def _close_soon(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.close(), name="close idle connection")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _key(device: DeviceId, parameters: HttpParameters) -> PoolKey:
    return (device, msgspec.json.encode(parameters))

"""One request to the API of a cluster, from the client's connection to the server's and back: bodies as streams, upgrades as raw bytes.

Nothing is kept whole: each side waits for the slower one. Until the head of an answer is there, a failure is an exception, so that another
server can be tried; from then on it can only cut the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from msgspec import Struct

from eaves.controller.api.http import Request, Send
from eaves.controller.api.proxypool import BrokenError, Connection
from eaves.wire import http1
from eaves.wire.clusterstream import plain_headers
from eaves.wire.http1 import HttpError, RequestHead, ResponseHead
from eaves.wire.tunnel import CloseCause, CloseCode

GONE = CloseCause(CloseCode.GONE, "the client has gone")
REFUSAL_LIMIT_BYTES = 1 << 20
"""Of an answer that refuses an upgrade; it is read whole."""
UPGRADE_TIMEOUT_S = 120.0
"""For the answer to an upgrade; a kube-apiserver calls a kubelet before it gives one."""


class ClientGoneError(Exception):
    """The client went away; nobody is left to be answered."""


class NotSentError(BrokenError):
    """The server has not seen the request, so it may be asked again, or another one."""


class Outgoing(Struct, frozen=True):
    """The request as it goes to the node. ``is_chunked`` says how its body is written."""

    head: RequestHead
    has_body: bool
    is_chunked: bool


def want_request(request: Request, prefix: str) -> Outgoing:
    """The client's request for the path behind ``prefix``. Raises HttpError for what cannot be passed on."""
    given = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"])
    headers = http1.without(plain_headers(given), ("content-length", "expect"))
    length = request.header(b"content-length")
    is_chunked = not length and "chunked" in request.header(b"transfer-encoding").lower()
    if request.is_websocket:
        headers = (*headers, ("Connection", "Upgrade"), ("Upgrade", request.header(b"upgrade")))
        if length:
            headers = (*headers, ("Content-Length", length))
    elif is_chunked:
        headers = (*headers, ("Transfer-Encoding", "chunked"))
    elif length:
        headers = (*headers, ("Content-Length", length))
    has_body = not request.is_websocket and (is_chunked or length not in ("", "0"))
    return Outgoing(RequestHead(request.method, _target(request, prefix), headers), has_body, is_chunked)


class Exchange:
    """One attempt over one connection."""

    def __init__(self, request: Request, outgoing: Outgoing, connection: Connection) -> None:
        self._request = request
        self._outgoing = outgoing
        self._connection = connection
        self._upload: asyncio.Task[None] | None = None
        self._is_sent = not outgoing.has_body
        self.is_started = False
        """Whether some of the client's body may have been taken, or it has been answered: then nothing can be tried again."""

    async def ask(self) -> ResponseHead:
        """Send the request; the head of the answer. Raises BrokenError, HttpError, ClientGoneError."""
        head = http1.encode_request_head(self._outgoing.head)
        if self._connection.is_closed:
            raise NotSentError("the connection had ended before")
        await self._connection.send(head)
        if self._request.is_websocket:
            return await self._read_upgrade()
        self.is_started = self._outgoing.has_body
        self._upload = asyncio.create_task(self._pump_up(), name="request to a cluster")
        with self._until_client_goes():
            # When the server takes no more of the body, its answer says why, if there is one.
            return await self._connection.read_head()

    async def _read_upgrade(self) -> ResponseHead:
        try:
            async with asyncio.timeout(UPGRADE_TIMEOUT_S):
                return await self._connection.read_head()
        except TimeoutError as error:
            raise HttpError(f"no answer within {UPGRADE_TIMEOUT_S:.0f} s") from error

    async def answer(self, head: ResponseHead, send: Send) -> bool:
        """Pass the answer on; whether the connection can be used again. Raises BrokenError when it is cut, ClientGoneError."""
        self.is_started = True
        with self._until_client_goes():
            await send({"type": "http.response.start", "status": head.status, "headers": list(_answer_headers(head))})
            return await self._pump_down(head, send) and self._is_sent and head.is_persistent

    async def stop(self) -> None:
        """Take nothing from the client any more."""
        if self._upload is not None:
            self._upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, ClientGoneError, BrokenError):
                await self._upload

    @contextlib.contextmanager
    def _until_client_goes(self) -> Iterator[None]:
        """Gives up what is awaited inside when the client goes. A task of its own for that would cost as much as a small answer.

        Raises ClientGoneError.
        """
        upload, task = self._upload, asyncio.current_task()
        assert upload is not None
        assert task is not None
        is_over = is_gone = False

        def look(_upload: asyncio.Task[None]) -> None:
            nonlocal is_gone
            if not is_over and not upload.cancelled() and isinstance(upload.exception(), ClientGoneError):
                is_gone = True
                task.cancel()

        upload.add_done_callback(look)
        try:
            yield
        except asyncio.CancelledError:
            if is_gone and not task.uncancel():
                raise ClientGoneError from None
            raise
        finally:
            is_over = True
            upload.remove_done_callback(look)

    async def _pump_up(self) -> None:
        """The body, then the wait for the client's end. Raises ClientGoneError, BrokenError."""
        while True:
            message = await self._request.receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            if self._is_sent:
                continue
            if data := message.get("body", b""):
                await self._connection.send(http1.encode_chunk(data) if self._outgoing.is_chunked else data)
            if not message.get("more_body", False):
                if self._outgoing.is_chunked:
                    await self._connection.send(http1.LAST_CHUNK)
                self._is_sent = True

    async def _pump_down(self, head: ResponseHead, send: Send) -> bool:
        body = http1.response_body(head, self._request.method)
        while not body.is_over:
            data = await self._connection.receive()
            if data is None:
                if not isinstance(body, http1.EndlessBody):
                    raise BrokenError("the connection to the cluster broke in the middle of an answer")
                break
            content, rest = body.feed(data)
            for piece in content:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if rest:
                raise HttpError("the server said more than its answer")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return body.is_over


async def switch(request: Request, connection: Connection, head: ResponseHead, send: Send) -> None:
    """After a 101: bytes both ways until one side ends."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
    await request.receive()
    await send({"type": "websocket.accept", "headers": headers})

    async def pump_up() -> None:
        while (message := await request.receive())["type"] == "websocket.receive":
            await connection.send(message["bytes"])

    async def pump_down() -> None:
        while (data := await connection.receive()) is not None:
            await send({"type": "websocket.send", "bytes": data})

    pumps = {asyncio.create_task(pump(), name=f"upgraded {pump.__name__}") for pump in (pump_up, pump_down)}
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        with contextlib.suppress(OSError):
            await send({"type": "websocket.close", "code": 1000})


async def refuse(connection: Connection, request: Request, head: ResponseHead, send: Send) -> None:
    """The server's answer to an upgrade that it does not make."""
    body = http1.response_body(head, request.method)
    content: list[bytes] = []
    while not body.is_over and sum(map(len, content)) < REFUSAL_LIMIT_BYTES:
        data = await connection.receive()
        if data is None:
            break
        content.extend(body.feed(data)[0])
    whole = b"".join(content)
    kept = (entry for entry in _answer_headers(head) if entry[0] != b"content-length")
    headers = [*kept, (b"content-length", str(len(whole)).encode())]
    await request.receive()
    await send({"type": "websocket.http.response.start", "status": head.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": whole})


def _answer_headers(head: ResponseHead) -> Iterator[tuple[bytes, bytes]]:
    """As the server said them, besides what this server says itself."""
    for name, value in http1.without(http1.end_to_end(head.headers), ("date",)):
        yield name.lower().encode("latin-1"), value.encode("latin-1")


def _target(request: Request, prefix: str) -> str:
    """Path and query as the client wrote them, without ``prefix``."""
    raw: bytes = request.scope.get("raw_path") or request.path.encode()
    path = raw.decode("latin-1").removeprefix(prefix) or "/"
    query: bytes = request.scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path

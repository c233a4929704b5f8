"""An HTTP proxy that looks into TLS, as companies have them: it shows its own certificates, and its clients must trust its authority."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Collection, Mapping

import trustme

from eaves.kit import streams
from eaves.testing.loop_thread import LoopThread
from eaves.testing.namespaces import Namespace
from eaves.testing.tcp_server import TcpServer

_CHUNK = 64 << 10
_HEAD_LIMIT_S = 30.0


class LookingProxy:
    """Listens at ``address:port`` inside ``namespace``; use as a context manager.

    ``targets``: ``host:port`` that clients ask for → port on this machine's loopback, outside; nothing else is reached. ``plain``: those of
    these ports that speak no TLS themselves, where clients ask for it all the same.
    """

    def __init__(
        self, namespace: Namespace, address: str, port: int, targets: Mapping[str, int], plain: Collection[int] = ()
    ) -> None:
        self._targets = targets
        self._plain = plain
        self._authority = trustme.CA()
        self.ca_pem = self._authority.cert_pem.bytes().decode()
        self.url = f"http://{address}:{port}"
        self.asked: set[str] = set()
        """``CONNECT host:port`` or ``GET host:port``."""
        self.seen: set[str] = set()
        """First lines of what went through TLS, such as ``GET /v2/… HTTP/1.1``: what it could look at."""
        with namespace.entered():
            self._listening = socket.create_server((address, port))
        self._server = TcpServer(self._talk)
        self._thread = LoopThread()

    def __enter__(self) -> LookingProxy:
        self._thread.__enter__()
        self._thread.call(self._server.start(listening=self._listening))
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.call(self._server.stop())
        self._thread.__exit__(None, None, None)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_LIMIT_S)
            method, where = head.decode("latin-1").split(" ")[:2]
            if method == "CONNECT":
                await self._tunnel(where, reader, writer)
                return
            authority = where.removeprefix("http://").partition("/")[0]
            self.asked.add(f"{method} {authority}")
            await self._pass_on(authority, head, reader, writer, None)

    async def _tunnel(self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.add(f"CONNECT {where}")
        if where not in self._targets:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return
        context = await asyncio.to_thread(self._pretend, where.rpartition(":")[0].strip("[]"))
        # The client speaks TLS as soon as it has this, and nothing may come between that and listening to it.
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await streams.start_tls(writer, context)
        first = await reader.read(_CHUNK)
        self.seen.add(first.partition(b"\r\n")[0].decode("latin-1"))
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        onward = None if self._targets[where] in self._plain else blind
        await self._pass_on(where, first, reader, writer, onward)

    def _pretend(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    async def _pass_on(
        self,
        where: str,
        first: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext | None,
    ) -> None:
        port = self._targets.get(where)
        if port is None:
            return
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            onward_writer.write(first)
            there = asyncio.create_task(_copy(reader, onward_writer))
            try:
                await _copy(onward_reader, writer)
            finally:
                there.cancel()
                await asyncio.wait([there])
        finally:
            onward_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()

"""The API of a cluster as far as the proxy can tell: HTTP/1.1 over TLS that wants K3s's admin certificate, and does what its paths say.

========================  =====================================================================================================
``/echo``                 the request as JSON: method, target, headers, length and SHA-256 of its body
``/chunks?bytes=N``       N bytes, chunked; ``/length?bytes=N`` the same with their length said
``/watch``                a line for each :meth:`ClusterApiServer.tell`, until the client goes
``/cut``                  an answer that ends in the middle; ``/vanish`` none at all
``/upgrade``              101 for any upgrade, then every byte comes back; ``/refuse`` 403 for one
========================  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

from eaves.node.clusters.model import ClusterApi
from eaves.wire import http1
from eaves.wire.http1 import RequestHead

PIECE = bytes(range(256)) * 256
CLIENT_NAME = "system:admin"


class ClusterApiServer:
    """One server. ``heads`` are the requests that came, ``connections`` how many were made."""

    def __init__(self, folder: Path) -> None:
        self.heads: list[RequestHead] = []
        self.connections = 0
        self.open = 0
        self._folder = folder
        self._server: asyncio.Server
        self._port = 0
        self.watchers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def api(self) -> ClusterApi:
        """How a node reaches it."""
        folder = self._folder
        return ClusterApi("127.0.0.1", self._port, folder / "server-ca.crt", folder / "admin.crt", folder / "admin.key")

    @property
    def credential(self) -> str:
        """What must not leave the node: lines of the administrator's key, and of his certificate those that are in no other."""
        key, certificate = ((self._folder / name).read_text().splitlines() for name in ("admin.key", "admin.crt"))
        lines = [*key, *certificate[-3:]]
        return "\n".join(line for line in lines if len(line) > 40 and not line.startswith("-----"))

    async def start(self) -> None:
        context = await asyncio.to_thread(save_cluster_files, self._folder)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a server that dies: its connections break."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def tell(self, text: str) -> None:
        """A line to every watch."""
        for writer in self.watchers:
            writer.write(http1.encode_chunk(text.encode() + b"\n"))
            await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            received = b""
            while True:
                while (found := http1.split_head(received)) is None:
                    data = await reader.read(65536)
                    if not data:
                        return
                    received += data
                raw, received = found
                head = http1.parse_request_head(raw)
                self.heads.append(head)
                received, keeps = await _Answering(self, reader, writer, head, received).run()
                if not keeps:
                    return
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self.open -= 1
            if writer in self.watchers:
                self.watchers.remove(writer)
            writer.transport.abort()


class _Answering:
    """One request and its answer."""

    def __init__(
        self,
        server: ClusterApiServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: RequestHead,
        received: bytes,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._head = head
        self._received = received

    async def run(self) -> tuple[bytes, bool]:
        """What was received behind the request, and whether the connection goes on."""
        url = urlsplit(self._head.target)
        size = int(parse_qs(url.query).get("bytes", ["0"])[0])
        if http1.header(self._head.headers, "upgrade"):
            return b"", await self._upgrade(url.path)
        body = await self._read_body()
        match url.path:
            case "/chunks":
                await self._send("Transfer-Encoding: chunked", [http1.encode_chunk(piece) for piece in _pieces(size)])
                self._writer.write(http1.LAST_CHUNK)
            case "/length":
                pieces = [] if self._head.method == "HEAD" else _pieces(size)
                await self._send(f"Content-Length: {size}", pieces)
            case "/watch":
                # Before the client hears of it: from then on it may be told something.
                self._server.watchers.append(self._writer)
                await self._send("Transfer-Encoding: chunked", [])
                await self._reader.read()
                return b"", False
            case "/cut":
                await self._send("Content-Length: 1000", [b"only this"])
                return b"", False
            case "/vanish":
                return b"", False
            case _:
                text = json.dumps(self._describe(body)).encode()
                await self._send(f"Content-Length: {len(text)}", [text])
        await self._writer.drain()
        return self._received, True

    def _describe(self, body: bytes) -> Any:
        return {
            "method": self._head.method,
            "target": self._head.target,
            "headers": [[name.lower(), value] for name, value in self._head.headers],
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }

    async def _read_body(self) -> bytes:
        body, content = http1.request_body(self._head), []
        while not body.is_over:
            if not self._received:
                self._received = await self._reader.read(65536)
                if not self._received:
                    raise ConnectionResetError
            found, self._received = body.feed(self._received)
            content += found
        return b"".join(content)

    async def _send(self, framing: str, pieces: list[bytes]) -> None:
        start = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: then\r\nX-Cluster: yes\r\n{framing}\r\n\r\n"
        )
        self._writer.write(start.encode())
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def _upgrade(self, path: str) -> bool:
        name = http1.header(self._head.headers, "upgrade")
        if path == "/refuse":
            self._writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nX-Why: rules\r\n\r\nforbidden")
            await self._writer.drain()
            return True
        accept = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {name}\r\nX-Chosen: v4\r\n\r\n"
        self._writer.write(accept.encode())
        while data := await self._reader.read(65536):
            self._writer.write(data)
            await self._writer.drain()
        return False


def _pieces(size: int) -> list[bytes]:
    whole, rest = divmod(size, len(PIECE))
    return [PIECE] * whole + ([PIECE[:rest]] if rest else [])


def save_cluster_files(folder: Path) -> ssl.SSLContext:
    """K3s's files for its administrator; answers the server's side of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    admin, own = authority.issue_cert(common_name=CLIENT_NAME), authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "server-ca.crt")
    admin.private_key_pem.write_to_path(folder / "admin.key")
    (folder / "admin.crt").write_bytes(b"".join(part.bytes() for part in admin.cert_chain_pems))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context

"""Hostile clients of the device gateway: junk of every sort, and connections that hold what they can. They know no good key."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import random
import ssl
import uuid
from collections import Counter
from collections.abc import Iterator

from eaves.kit import streams
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.wire import paths

BASE = "/api/v2/edgedevice"
ANSWER_LIMIT_S = 20.0


class Flood:
    """``answers`` counts what came back: statuses as text, ``closed`` for a connection that was ended."""

    def __init__(self, port: int, root_pem: bytes, *, source: str = "127.0.0.1", seed: int = 0) -> None:
        self._port = port
        self._context = ssl.create_default_context(cadata=root_pem.decode())
        self._source = source
        self._chance = random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.sent = 0

    async def send_junk(self, count: int, *, parallel: int = 16) -> None:
        """``count`` requests over ``parallel`` connections, which are opened again when the gateway ends them."""
        requests = itertools.islice(self._make_requests(), count)
        await asyncio.gather(*(self._send(requests) for _ in range(parallel)))

    async def hold(self, count: int, stopping: asyncio.Event) -> None:
        """``count`` slow clients until ``stopping``: a third never speaks TLS, a third never ends its head, a third its body."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._hold_one(number % 3, stopping))

    def _make_requests(self) -> Iterator[bytes]:
        stranger = Device(TlsTransport("127.0.0.1", self._port, self._context), make_onboarding_pair(), serial="nobody")
        bomb = gzip.compress(bytes(8 << 20))
        unknown = f"{BASE}/id/{uuid.UUID(int=self._chance.getrandbits(128))}"
        while True:
            noise = self._chance.randbytes(self._chance.randrange(2000))
            yield _post(f"{BASE}/register", noise)
            yield _post(f"{BASE}/register", stranger.register_body())
            yield _post(f"{BASE}/uuid", stranger.signer.seal(b""))
            yield _post(f"{unknown}/config", stranger.signer.seal(noise))
            yield _post(f"{unknown}/newlogs", stranger.signer.seal(bomb))
            yield _post(f"{unknown}/info", stranger.signer.seal(noise)[:-7])
            yield _post(f"{BASE}/../../etc/{noise[:8].hex()}", b"")
            yield _head("POST", f"{unknown}/metrics", f"Content-Length: {1 << 40}")
            yield _head("DELETE", f"{BASE}/certs", "Content-Length: 0")
            yield noise + b"\r\n\r\n"

    async def _send(self, requests: Iterator[bytes]) -> None:
        opened: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for request in requests:
            self.sent += 1
            try:
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    if opened is None:
                        opened = await self._open()
                    opened[1].write(request)
                    await opened[1].drain()
                    status, is_kept = await _read_status(opened[0])
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
                self.answers["silence" if isinstance(error, TimeoutError) else "closed"] += 1
                is_kept = False
            else:
                self.answers[status] += 1
            if not is_kept and opened is not None:
                await streams.close(opened[1])
                opened = None
        if opened is not None:
            await streams.close(opened[1])

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, local_addr=(self._source, 0), ssl_handshake_timeout=15
        )

    async def _hold_one(self, kind: int, stopping: asyncio.Event) -> None:
        writer = None
        try:
            if kind == 0:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._source, 0))
            else:
                _, writer = await self._open()
            if kind == 2:
                writer.write(_head("POST", f"{BASE}/register", "Content-Length: 100000"))
            while not stopping.is_set():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await stopping.wait()
        except OSError:
            # Ended by the gateway, as it should be.
            return
        finally:
            if writer is not None:
                await streams.close(writer)


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode()


def _post(path: str, body: bytes) -> bytes:
    return _head("POST", path, f"Content-Length: {len(body)}", f"Content-Type: {paths.CONTENT_TYPE}") + body


async def _read_status(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Status, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    return head[0].split(" ")[1], headers.get("connection") != "close"

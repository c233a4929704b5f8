"""The node's end of the tunnel's benchmark, in a process of its own: ``python -m tests.bench.tunnel_node FOLDER PORT DIRECT_PORT``.

It joins the gateway at PORT, prints its UUID, and serves streams; for comparison it also dials DIRECT_PORT by plain TLS and does the same
on that connection. It ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from eaves.node.tunnel.abc import Offer
from eaves.testing.device import Device
from eaves.testing.device_transport import TlsTransport
from eaves.testing.gateway_server import load_pair
from eaves.testing.stream_node import StreamNode
from eaves.wire.tunnel import StreamRequest

CHUNK = bytes(64 << 10)
CHUNKS = 4096
"""256 MiB."""

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]


async def talk(read: Read, write: Write) -> None:
    """Send back what comes; after an empty line send all chunks."""
    while data := await read():
        if data != b"\n":
            await write(data)
            continue
        for _ in range(CHUNKS):
            await write(CHUNK)


class Talk:
    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        await talk(stream.receive, stream.send)


async def talk_directly(context: ssl.SSLContext, port: int) -> None:
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    await talk(lambda: reader.read(64 << 10), write)
    writer.close()


async def main(folder: Path, port: int, direct_port: int) -> None:
    root_pem = (folder / "root.pem").read_bytes()
    context = ssl.create_default_context(cadata=root_pem.decode())
    device = Device(TlsTransport("localhost", port, context), load_pair(folder), serial="bench")
    await device.onboard(root_pem)
    node = StreamNode(device, port, root_pem)
    node.dialler.register("talk", Talk())
    async with node.connected():
        direct = asyncio.create_task(talk_directly(context, direct_port))
        sys.stdout.write(f"{device.id}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        direct.cancel()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

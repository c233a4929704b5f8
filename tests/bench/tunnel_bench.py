"""The tunnel against a direct TLS connection between the same two processes: throughput from the node, and time there and back.

Controller and node have a process each. What is measured lies in the controller, where the user of a stream is.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from eaves.controller.devicelistener import listen_for_devices
from eaves.controller.serving import TlsFiles
from eaves.controller.settings import GatewaySettings
from eaves.kit.files import save_file
from eaves.testing.deviceside import open_rig
from eaves.testing.gateway_server import want_pair
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import StreamRequest
from tests.bench.results import Result, median_result
from tests.bench.tunnel_node import CHUNK, CHUNKS

RUNS = 5
ROUND_TRIPS = 500
PING = bytes(64)

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]


async def measure() -> list[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with open_rig(folder, onboarding=want_pair(folder)) as rig:
            await rig.add_key()
            save_file(folder / "root.pem", rig.identity.current.root_pem)
            listener = listen_for_devices(rig.side, rig.identity.current.server_file, "127.0.0.1", 0, GatewaySettings())
            serving = asyncio.create_task(listener.run())
            await rig.until(lambda: listener.is_started)
            dialled: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
                serving.get_loop().create_future()
            )
            files = TlsFiles(rig.identity.current.server_file, rig.identity.current.server_file)
            direct = await asyncio.start_server(
                lambda reader, writer: dialled.set_result((reader, writer)), "127.0.0.1", 0, ssl=files.context
            )
            port = direct.sockets[0].getsockname()[1]
            argv = [sys.executable, "-m", "tests.bench.tunnel_node", str(folder), str(listener.port), str(port)]
            node = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert node.stdin is not None
            assert node.stdout is not None
            try:
                device_id = DeviceId((await node.stdout.readline()).decode().strip())
                await rig.until(lambda: device_id in rig.side.hub)
                stream = await rig.side.tunnel.open(device_id, StreamRequest("talk"))
                reader, writer = await dialled

                async def write(data: bytes) -> None:
                    writer.write(data)
                    await writer.drain()

                return await _compare((stream.receive, stream.send), (lambda: reader.read(64 << 10), write))
            finally:
                node.stdin.close()
                await node.wait()
                direct.close()
                listener.stop()
                await serving


async def _compare(tunnel: tuple[Read, Write], direct: tuple[Read, Write]) -> list[Result]:
    rates: dict[str, list[float]] = {"tunnel": [], "direct": []}
    trips: dict[str, list[float]] = {"tunnel": [], "direct": []}
    for run in range(-1, RUNS):
        for name, way in (("tunnel", tunnel), ("direct", direct)):
            rate, trip = await _measure_rate(*way), await _measure_trip(*way)
            if run >= 0:
                rates[name].append(rate)
                trips[name].append(trip)
    peer = "direct TLS connection"
    note = "encrypted twice: by TLS and from end to end"
    added = statistics.median(trips["tunnel"]) - statistics.median(trips["direct"])
    return [
        median_result(
            "tunnel_throughput", "MB/s", "higher", rates["tunnel"], peer=peer, peer_runs=rates["direct"], note=note
        ),
        median_result(
            "tunnel_round_trip",
            "ms",
            "lower",
            trips["tunnel"],
            peer=peer,
            peer_runs=trips["direct"],
            note=f"added: {added:.3f} ms",
        ),
    ]


async def _measure_rate(read: Read, write: Write) -> float:
    started = time.perf_counter()
    await write(b"\n")
    left = CHUNKS * len(CHUNK)
    while left:
        left -= len(await read() or b"")
    return CHUNKS * len(CHUNK) / 1e6 / (time.perf_counter() - started)


async def _measure_trip(read: Read, write: Write) -> float:
    """Median of a small message there and back, in milliseconds."""
    took = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        await write(PING)
        assert await read() == PING
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"tunnel": lambda: uvloop.run(measure())}

"""The gateway as devices meet it: over TLS, in a process of its own, among strangers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from eaves.controller.settings import GatewaySettings
from eaves.testing.device import Device
from eaves.testing.device_transport import TlsTransport
from eaves.testing.gateway_server import RunningGateway, start_gateway
from eaves.wire import logfile, notify, paths
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.newlog import LogRecord
from eaves.wire.paths import Endpoint
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ZHardwareHealth

pytestmark = pytest.mark.contract

NOBODY = DeviceId("99999999-8888-4777-8666-555555555555")
INFO = paths.render_path(Endpoint.INFO, NOBODY)
MIB = 1 << 20


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with start_gateway(tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def device(gateway: RunningGateway) -> AsyncIterator[Device]:
    device = gateway.device(serial="A1")
    await device.onboard(gateway.root_pem)
    yield device
    await close(device)


async def close(device: Device) -> None:
    assert isinstance(device.transport, TlsTransport)
    await device.transport.close()


async def test_every_call_of_a_device(gateway: RunningGateway, device: Device) -> None:
    statuses = {
        "poll": (await device.poll()).status,
        "info": (await device.send_info(device.info())).status,
        "metrics": (await device.post(Endpoint.METRICS, device.metrics())).status,
        "logs": (await device.send_logs([LogRecord("hello", 1, 1)])).status,
        "flows": (await device.post(Endpoint.FLOWLOG, FlowMessage(devId=device.id))).status,
        "health": (await device.post(Endpoint.HARDWARE_HEALTH, ZHardwareHealth(dev_id=device.id))).status,
        "ping": (await device.transport.call("GET", paths.render_path(Endpoint.PING))).status,
        "register": (await device.register()).status,
        "foreign app": (
            await device.send_logs([LogRecord("x", 1, 1)], AppId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"))
        ).status,
    }
    assert statuses == {
        "poll": 304,
        "info": 201,
        "metrics": 201,
        "logs": 201,
        "flows": 201,
        "health": 201,
        "ping": 200,
        "register": 200,
        "foreign app": 403,
    }


async def test_answers_say_nothing_about_the_server(gateway: RunningGateway) -> None:
    transport = gateway.transport()
    reply = await transport.call("GET", paths.render_path(Endpoint.PING))
    assert reply.headers == {"content-length": "0"}
    await transport.close()


async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async with start_gateway(tmp_path) as gateway:
        device = gateway.device(serial="A1")
        await device.onboard(gateway.root_pem)
        assert (await device.send_info(device.info())).status == 201
        gateway.process.kill()
        await gateway.process.wait()
        await close(device)
    async with start_gateway(tmp_path) as gateway:
        device.transport = gateway.transport()
        started = time.monotonic()
        assert (await device.poll()).status == 304
        assert time.monotonic() - started < 3
        await close(device)


async def test_old_tls_is_refused_and_sessions_are_resumed(gateway: RunningGateway) -> None:
    context = ssl.create_default_context(cadata=gateway.root_pem.decode())
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context)
    assert await asyncio.to_thread(count_resumed, gateway) == 1


def count_resumed(gateway: RunningGateway) -> int:
    """Two connections with blocking sockets, since asyncio cannot offer a session."""
    resumed, session = 0, None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as plain,
            gateway.context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure,
        ):
            secure.sendall(f"GET {paths.render_path(Endpoint.PING)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert secure.recv(1000).startswith(b"HTTP/1.1 200")
            resumed += bool(secure.session_reused)
            session = secure.session
    return resumed


async def test_ten_thousand_junk_requests_stay_within_bounds_and_good_devices_are_served(
    gateway: RunningGateway, device: Device
) -> None:
    for _ in range(3):
        await flood(gateway, 300)
    before = gateway.resident_bytes()
    flooding = asyncio.create_task(flood(gateway, 10_000))
    waits, polls = [], 0
    while not flooding.done():
        started = time.monotonic()
        assert (await device.poll()).status == 304
        waits.append(time.monotonic() - started)
        polls += 1
        await asyncio.sleep(0.02)
    await flooding
    assert polls > 10
    assert max(waits) < 5
    assert gateway.resident_bytes() - before < 40 * MIB


async def flood(gateway: RunningGateway, total: int) -> None:
    """Junk of many kinds over sixteen connections."""
    stranger = gateway.device()
    sealed = stranger.signer.seal(b"payload")
    bomb = stranger.signer.seal(logfile.encode_gzip(bytes(4 * MIB), 1))
    register = paths.render_path(Endpoint.REGISTER)
    kinds: list[tuple[str, str, bytes]] = [
        ("POST", INFO, b"junk"),
        ("POST", INFO, sealed),
        ("POST", paths.render_path(Endpoint.NEWLOGS, NOBODY), bomb),
        ("POST", register, stranger.register_body()[:-20]),
        ("POST", register, b"\xff" * 1000),
        ("GET", "/" + "a" * 500, b""),
        ("POST", INFO, bytes(200_000)),
        ("PUT", INFO, b""),
    ]

    async def run(first: int) -> None:
        transport = gateway.transport()
        for number in range(first, total, 16):
            method, path, body = kinds[number % len(kinds)]
            try:
                reply = await transport.call(method, path, body)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
            assert 400 <= reply.status < 500 or reply.status == 503, reply
        await transport.close()

    await asyncio.gather(*(run(first) for first in range(16)))


async def raw(gateway: RunningGateway, *, tls: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", gateway.port, ssl=gateway.context if tls else None)


async def is_closed(reader: asyncio.StreamReader, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            while await reader.read(65536):
                continue
    except (ConnectionError, ssl.SSLError):
        return True
    return True


async def test_a_header_without_end_is_cut_off(gateway: RunningGateway, device: Device) -> None:
    reader, writer = await raw(gateway)
    writer.write(b"GET / HTTP/1.1\r\n")
    for _ in range(200):
        writer.write(b"X-Padding: " + b"x" * 1000 + b"\r\n")
    assert await is_closed(reader, 10)
    writer.close()
    assert (await device.poll()).status == 304


@pytest.mark.parametrize(
    "lines", [["X: " + "a" * 20_000], [f"X-{number}: {number}" for number in range(3000)]], ids=["long", "many"]
)
async def test_a_head_that_is_too_large_is_refused_when_it_comes_at_once_too(
    gateway: RunningGateway, lines: list[str]
) -> None:
    reader, writer = await raw(gateway)
    writer.write("\r\n".join([f"GET {paths.render_path(Endpoint.PING)} HTTP/1.1", "Host: x", *lines, "", ""]).encode())
    async with asyncio.timeout(60):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431 ")
    assert await is_closed(reader, 10)
    writer.close()


async def test_requests_in_a_row_are_answered_in_a_row(gateway: RunningGateway) -> None:
    reader, writer = await raw(gateway)
    ping = f"GET {paths.render_path(Endpoint.PING)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    writer.write((ping + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n") + ping)
    async with asyncio.timeout(60):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    writer.close()


async def test_thousands_of_requests_at_once_on_a_connection_are_not_kept(
    gateway: RunningGateway, device: Device
) -> None:
    ping = f"GET {paths.render_path(Endpoint.PING)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    connections = [await raw(gateway) for _ in range(20)]
    before = gateway.resident_bytes()
    for _, writer in connections:
        writer.write(ping * 3000)
    assert (await device.poll()).status == 304
    assert all(await asyncio.gather(*(is_closed(reader, 60) for reader, _ in connections)))
    assert gateway.resident_bytes() - before < 30 * MIB
    for _, writer in connections:
        writer.close()


async def test_what_is_not_http_is_answered_with_400_and_closed(gateway: RunningGateway) -> None:
    reader, writer = await raw(gateway)
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    async with asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    assert await is_closed(reader, 10)
    writer.close()


async def test_rest_of_a_body_that_was_refused_is_not_read_as_a_request(gateway: RunningGateway) -> None:
    reader, writer = await raw(gateway)
    writer.write(f"POST {INFO} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nabc".encode())
    async with asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    assert await is_closed(reader, 10)
    writer.close()


async def test_clients_that_say_nothing_are_dropped(gateway: RunningGateway, device: Device) -> None:
    """Some never begin TLS, some send nothing after it, some stop within the request line."""
    connections = [await raw(gateway, tls=number % 3 != 0) for number in range(90)]
    for _, writer in connections[2::3]:
        writer.write(b"POST /api/v2")
    assert (await device.poll()).status == 304
    closed = await asyncio.gather(*(is_closed(reader, 30) for reader, _ in connections))
    assert all(closed)
    for _, writer in connections:
        writer.close()


async def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    settings = GatewaySettings(connections=100, connections_per_address=10)
    async with start_gateway(tmp_path, settings=settings) as gateway:
        transports = [gateway.transport() for _ in range(10)]
        for transport in transports:
            assert (await transport.call("GET", paths.render_path(Endpoint.PING))).status == 200
        extra = gateway.transport()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
            await extra.call("GET", paths.render_path(Endpoint.PING))
        await transports.pop().close()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await extra.call("GET", paths.render_path(Endpoint.PING))).status == 200
                    break
                except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                    await asyncio.sleep(0.01)
        for transport in (*transports, extra):
            await transport.close()


async def test_the_notify_channel_over_a_real_websocket(gateway: RunningGateway, device: Device) -> None:
    url = f"wss://127.0.0.1:{gateway.port}{paths.render_path(Endpoint.EXTENSION, device.id, extension='notify')}"
    async with asyncio.timeout(20), connect(url, ssl=gateway.context, compression=None) as channel:
        challenge = notify.parse_challenge(await channel.recv())
        await channel.send(device.signer.seal(notify.want_answer(challenge)))
        notice = notify.parse_notice(await channel.recv())
        assert notice.config == device.config_hash
    async with asyncio.timeout(20), connect(url, ssl=gateway.context, compression=None) as channel:
        await channel.recv()
        await channel.send(b"not the answer")
        await channel.wait_closed()
        assert channel.close_code == 1008


async def test_closed_channels_count_as_connections_no_more(tmp_path: Path) -> None:
    async with start_gateway(tmp_path, settings=GatewaySettings(connections_per_address=3)) as gateway:
        url = f"wss://127.0.0.1:{gateway.port}{paths.render_path(Endpoint.EXTENSION, NOBODY, extension='notify')}"
        for _ in range(10):
            async with asyncio.timeout(20), connect(url, ssl=gateway.context, compression=None) as channel:
                await channel.recv()
                await channel.send(b"no proof")
                await channel.wait_closed()

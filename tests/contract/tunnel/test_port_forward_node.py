"""The node's end of a port-forward: connections from inside a network namespace, half-closes, refusals, cuts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eaves.controller.tunnel.errors import RefusedError
from eaves.node.observed import AppState, AppStatus, Observations
from eaves.node.tunnel import dialling
from eaves.node.tunnel.dialling import ConnectError
from eaves.node.tunnel.portforward import PortForward
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.namespaces import Namespace
from eaves.testing.objects import DEVICE_ID
from eaves.testing.tcp_server import TcpServer
from eaves.tunnel.stream import TunnelStream
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import CloseCause, CloseCode, RefusalCode, StreamKind, StreamRequest

pytestmark = pytest.mark.contract

APP_ID = "50000000-0000-4000-8000-000000000001"


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Namespace]:
    with Namespace() as found:
        (tmp_path / APP_ID).symlink_to(found.path)
        yield found


def listen_inside(namespace: Namespace, host: str = "127.0.0.1") -> socket.socket:
    with namespace.entered():
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, 8080), family=family)


class Stage:
    """A node with one running app."""

    def __init__(self, folder: Path) -> None:
        self.observations = Observations()
        self.tell(AppState.RUNNING)
        self.tunnel = LinkedTunnel({StreamKind.PORT_FORWARD: PortForward(self.observations, folder)})

    def tell(self, state: AppState) -> None:
        self.observations.publish(AppStatus(APP_ID, "1", "web", "default", state))

    async def open(self, port: int = 8080, app: str = APP_ID) -> TunnelStream:
        wanted = StreamRequest(StreamKind.PORT_FORWARD, {"app": app, "port": port})
        return await self.tunnel.open(DeviceId(DEVICE_ID), wanted)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    found = Stage(tmp_path)
    yield found
    await found.tunnel.close()


@contextlib.asynccontextmanager
async def accepted(listening: socket.socket) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The app's end of the next connection."""
    listening.setblocking(False)
    async with asyncio.timeout(30):
        connection, _ = await asyncio.get_running_loop().sock_accept(listening)
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def read_all(stream: TunnelStream) -> bytes:
    found = b""
    while (data := await stream.receive()) is not None:
        found += data
    return found


async def test_a_port_of_the_apps_loopback_is_reached(stage: Stage, inside: Namespace) -> None:
    with listen_inside(inside) as listening:
        stream = await stage.open()
        async with accepted(listening) as (reader, writer):
            await stream.send(b"question")
            await stream.send_end()
            assert await reader.read() == b"question"
            writer.write(b"answer after the end of the question")
            writer.close()
        assert await read_all(stream) == b"answer after the end of the question"
        await stage.tunnel.wait_count(lambda count: count == 0)


async def test_an_app_that_listens_on_ipv6_alone_is_reached(stage: Stage, inside: Namespace) -> None:
    with listen_inside(inside, "::1") as listening:
        stream = await stage.open()
        async with accepted(listening) as (_, writer):
            writer.write(b"six")
        assert await read_all(stream) == b"six"


async def test_the_hosts_own_ports_are_not_the_apps(stage: Stage, inside: Namespace) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the host was reached")

    server = TcpServer(talk)
    await server.start()
    try:
        with pytest.raises(RefusedError, match=r"nothing answers on port .*127\.0\.0\.1: connection refused"):
            await stage.open(server.port)
    finally:
        await server.stop()


async def test_a_namespace_that_went_is_an_error_and_not_the_hosts(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="no such file"):
        await dialling.connect(dialling.LOOPBACK, 80, tmp_path / "none")


async def test_apps_that_are_not_there_or_do_not_run_are_refused(stage: Stage, inside: Namespace) -> None:
    with pytest.raises(RefusedError) as missing:
        await stage.open(app="other")
    assert missing.value.refusal.code is RefusalCode.NOT_FOUND
    stage.tell(AppState.BACK_OFF)
    with pytest.raises(RefusedError, match="its state is BackOff") as stopped:
        await stage.open()
    assert stopped.value.refusal.code is RefusalCode.NOT_RUNNING


def fill_queue(listening: socket.socket) -> list[socket.socket]:
    """Connections that nobody has taken; from here on the kernel drops what comes, as it does behind a small queue in a burst."""
    listening.listen(0)
    found = []
    while True:
        filling = socket.socket()
        filling.settimeout(0.3)
        found.append(filling)
        try:
            filling.connect(listening.getsockname())
        except TimeoutError:
            found.pop().close()
            return found


def count_dialling(namespace: Namespace) -> int:
    """Connections of the namespace that are being made; 02 is SYN_SENT (tcp_states.h)."""
    lines = namespace.run("cat", "/proc/net/tcp").splitlines()
    return sum(line.split()[3] == "02" for line in lines)


def fill_inside(namespace: Namespace, listening: socket.socket) -> list[socket.socket]:
    with namespace.entered():
        return fill_queue(listening)


async def test_an_app_that_takes_no_connections_for_some_seconds_is_reached_as_a_kubelet_would(
    stage: Stage, inside: Namespace
) -> None:
    """The kernel of who connects tries again within a second or three, whether the namespace's is an old or a new one."""
    with listen_inside(inside) as listening:
        held = await asyncio.to_thread(fill_inside, inside, listening)
        assert held, "the queue holds one at least"
        opening = asyncio.create_task(stage.open())
        await asyncio.sleep(6)
        assert not opening.done()
        for filling in held:
            listening.accept()[0].close()
            filling.close()
        async with asyncio.timeout(30):
            stream = await opening
        async with accepted(listening) as (_, writer):
            writer.write(b"late")
        assert await read_all(stream) == b"late"


async def test_an_app_that_takes_no_connections_at_all_is_given_up_and_nothing_is_left(
    stage: Stage, inside: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "CONNECT_TIMEOUT_S", 0.5)
    with listen_inside(inside) as listening:
        held = await asyncio.to_thread(fill_inside, inside, listening)
        with pytest.raises(RefusedError, match=r"127\.0\.0\.1: no answer within 0\.5 s"):
            await stage.open()
        assert await asyncio.to_thread(count_dialling, inside) == 0
        for filling in held:
            filling.close()


async def test_an_address_that_is_silent_does_not_keep_from_the_next(
    stage: Stage, inside: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "NEXT_AFTER_S", 0.2)
    with listen_inside(inside) as silent, listen_inside(inside, "::1") as listening:
        held = await asyncio.to_thread(fill_inside, inside, silent)
        async with asyncio.timeout(3):
            stream = await stage.open()
        async with accepted(listening) as (_, writer):
            writer.write(b"six")
        assert await read_all(stream) == b"six"
        assert await asyncio.to_thread(count_dialling, inside) == 0
        for filling in held:
            filling.close()


async def test_an_app_that_does_not_read_holds_its_sender_back(stage: Stage, inside: Namespace) -> None:
    with listen_inside(inside) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream = await stage.open()
        async with accepted(listening) as (reader, _):
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 64 << 20:
                    async with asyncio.timeout(2):
                        await stream.send(bytes(65536))
                    sent += 65536
            assert sent < 16 << 20
            await stream.close(CloseCause(CloseCode.GONE))
            del reader
        await stage.tunnel.wait_count(lambda count: count == 0)


async def test_a_cut_is_no_end_for_the_app(stage: Stage, inside: Namespace) -> None:
    with listen_inside(inside) as listening:
        stream = await stage.open()
        async with accepted(listening) as (reader, _):
            await stream.send(b"half a")
            assert await reader.readexactly(6) == b"half a"
            stage.tunnel.cut()
            with pytest.raises(ConnectionResetError):
                await reader.read()


async def test_an_app_that_resets_ends_the_stream(stage: Stage, inside: Namespace) -> None:
    with listen_inside(inside) as listening:
        stream = await stage.open()
        async with accepted(listening) as (_, writer):
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        assert await read_all(stream) == b""
        await stage.tunnel.wait_count(lambda count: count == 0)


async def test_a_hundred_connections_at_once(stage: Stage, inside: Namespace) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def ask(number: int) -> bytes:
        stream = await stage.open()
        await stream.send(b"%d" % number)
        await stream.send_end()
        return await read_all(stream)

    server = TcpServer(echo)
    await server.start(listening=listen_inside(inside))
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(number)) for number in range(100)]
    finally:
        await server.stop()
    assert [task.result() for task in asked] == [b"%d" % number for number in range(100)]

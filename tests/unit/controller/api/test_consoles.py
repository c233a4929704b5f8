"""Screens and serial lines of virtual machines over a WebSocket, and why there is none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eaves.controller.api.consoles import attach_console
from eaves.controller.api.delivery import Streams
from eaves.controller.api.http import Receive, Request, Scope, Send
from eaves.controller.api.sockets import Conversation
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.testing.asgi import AsgiClient, AsgiSocket
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode, make_vm, uid_of
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import RefusalCode, StreamKind, StreamRequest

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
RUNNING = {"phase": "Running"}


class Line(Handler):
    """Greets, then echoes in capitals; ends at ``x``."""

    def __init__(self) -> None:
        self.refusal: RefusedError | None = None

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        if self.refusal is not None:
            raise self.refusal
        stream = await offer.accept()
        await stream.send(b"login: ")
        while (data := await stream.receive()) is not None and data != b"x":
            await stream.send(data.upper())


class Stage:
    def __init__(self, bench: ApiBench, tunnel: LinkedTunnel, line: Line) -> None:
        self.bench, self.tunnel, self.line = bench, tunnel, line

    def connect(self, path: str, offers: Sequence[str] = ()) -> AsgiSocket:
        return AsgiSocket(self.bench.api, f"{APPS}/{path}", token=ADMIN_TOKEN, subprotocols=offers)

    async def refusal(self, path: str, offers: Sequence[str] = ()) -> tuple[int, str]:
        async with self.connect(path, offers) as client:
            assert client.refusal is not None
            return client.refusal.status, client.refusal.json()["message"]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    line = Line()
    tunnel = LinkedTunnel({StreamKind.VNC: line, StreamKind.CONSOLE: line})
    async with open_api(tmp_path, tunnel=tunnel) as bench:
        await bench.put(make_edgenode())
        for name, vm in (
            ("plc", {"vnc": {}}),
            ("blind", {}),
            ("off", {"vnc": {"enabled": False}, "serialConsole": False}),
        ):
            await bench.put(make_vm(name, status=RUNNING, nodeName="store-17", vm=vm))
        await bench.put(make_vm("halted", status={"phase": "Halted"}, nodeName="store-17", vm={"vnc": {}}))
        await bench.put(make_app("web", status=RUNNING))
        yield Stage(bench, tunnel, line)
        await tunnel.close()


@pytest.mark.parametrize(("path", "kind"), [("plc/vnc", StreamKind.VNC), ("plc/console", StreamKind.CONSOLE)])
async def test_bytes_go_both_ways(stage: Stage, path: str, kind: StreamKind) -> None:
    async with stage.connect(path) as client:
        assert client.subprotocol is None
        assert await client.receive() == b"login: "
        await client.send(b"root")
        assert await client.receive() == b"ROOT"
        await client.send("text too")
        assert await client.receive() == b"TEXT TOO"
    assert stage.tunnel.requests == [StreamRequest(kind, {"app": uid_of("App", "plc")})]
    await stage.tunnel.wait_count(lambda count: count == 0)


async def test_a_machine_that_goes_ends_the_websocket(stage: Stage) -> None:
    async with stage.connect("plc/vnc", ["binary"]) as client:
        assert client.subprotocol == "binary"
        await client.receive()
        await client.send(b"x")
        assert await client.receive() is None
        assert client.close_code == 1000


async def test_a_cut_is_told_with_the_close(stage: Stage) -> None:
    async with stage.connect("plc/vnc") as client:
        await client.receive()
        stage.tunnel.cut()
        assert await client.receive() is None
        assert client.close_reason == "the connection to the node broke"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("web/vnc", "app web is a container: only virtual machines have a screen"),
        ("web/console", "app web is a container: only virtual machines have a serial console"),
        ("blind/vnc", "app blind has no screen: set spec.vm.vnc"),
        ("off/vnc", "app off has no screen: set spec.vm.vnc"),
        ("off/console", "app off has no serial console: set spec.vm.serialConsole"),
        ("halted/vnc", "app halted is not running (its phase is Halted): kubectl eaves why app/halted"),
    ],
)
async def test_what_cannot_be_shown_says_why(stage: Stage, path: str, why: str) -> None:
    code, message = await stage.refusal(path)
    assert code == 400
    assert message.startswith(why)


async def test_unknown_machines_and_subprotocols(stage: Stage) -> None:
    assert await stage.refusal("none/vnc") == (404, 'apps.eaves.dev "none" not found')
    code, message = await stage.refusal("plc/vnc", ["v4.channel.k8s.io"])
    assert (code, "none of the offered" in message) == (400, True)
    answer = await AsgiClient(stage.bench.api, ADMIN_TOKEN).call("GET", f"{APPS}/plc/vnc")
    assert (answer.status, answer.json()["message"]) == (400, "Upgrade request required")
    assert stage.tunnel.requests == []


async def test_what_the_node_says_is_handed_on(stage: Stage) -> None:
    stage.line.refusal = RefusedError(RefusalCode.UNSUPPORTED, "the machine runs without a screen")
    assert await stage.refusal("plc/vnc") == (400, "node store-17: the machine runs without a screen")
    stage.tunnel.is_online = False
    assert await stage.refusal("plc/vnc") == (503, "node store-17: the node is not connected")


async def test_attach_shows_the_serial_line_by_channels(stage: Stage) -> None:
    stream = await stage.tunnel.open(DeviceId(DEVICE_ID), StreamRequest(StreamKind.CONSOLE, {"app": "a"}))
    streams = Streams()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        conversation = Conversation(lambda socket: attach_console(socket, stream), "v5.channel.k8s.io")
        await streams.converse(Request(scope, receive, "audit"), conversation, send)

    async with AsgiSocket(application, "/") as client:
        assert await client.receive() == b"\x01login: "
        sizes_and_ends: list[Any] = [b'\x04{"Width":80,"Height":24}', b"\x00", b"\xff\x00", b"", "text"]
        for message in sizes_and_ends:
            await client.send(message)
        await client.send(b"\x00root")
        assert await client.receive() == b"\x01ROOT"
        await client.send(b"\x00x")
        assert await client.receive() == b'\x03{"metadata":{},"status":"Success"}'
        assert await client.receive() is None


async def test_a_client_that_goes_before_the_websocket_opens_leaves_no_stream(stage: Stage) -> None:
    with contextlib.suppress(OSError):
        gone = asyncio.Queue[Any]()
        for message in ({"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}):
            gone.put_nowait(message)

        async def send(_message: Any) -> None:
            raise ConnectionResetError

        scope = AsgiSocket(stage.bench.api, f"{APPS}/plc/vnc", token=ADMIN_TOKEN).scope
        await stage.bench.api(scope, gone.get, send)
    assert stage.tunnel.opened == 1
    await stage.tunnel.wait_count(lambda count: count == 0)

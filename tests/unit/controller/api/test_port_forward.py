"""The subresource: who is let in, what ports are asked for, what the node is asked, and what people are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from eaves.controller.api.portforward import CHANNEL_SUBPROTOCOL, SPDY_SUBPROTOCOL, parse_ports
from eaves.kinds.pod_projection import pod_uid
from eaves.kube.errors import ApiError
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.testing.asgi import AsgiClient, AsgiSocket
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import make_app, make_edgenode, uid_of
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api
from eaves.wire.tunnel import RefusalCode, StreamKind, StreamRequest

PATH = "/api/v1/namespaces/default/pods/web/portforward"


class Echo(Handler):
    """Port 80 echoes, 81 says bye and ends, others refuse."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        port = request.parameters["port"]
        if port not in (80, 81):
            raise RefusedError(RefusalCode.FAILED, "nothing answers")
        stream = await offer.accept()
        if port == 81:
            await stream.send(b"bye")
            await stream.send_end()
        while (data := await stream.receive()) is not None:
            await stream.send(data)


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[tuple[ApiBench, LinkedTunnel]]:
    tunnel = LinkedTunnel({StreamKind.PORT_FORWARD: Echo()})
    async with open_api(folder, tunnel=tunnel) as bench:
        await bench.put(make_edgenode())
        await bench.put(make_app("web", status={"phase": "Running"}))
        yield bench, tunnel
        await tunnel.close()


def connect(
    bench: ApiBench, path: str = PATH, offers: Sequence[str] = (CHANNEL_SUBPROTOCOL,), **query: str
) -> AsgiSocket:
    return AsgiSocket(bench.api, path, token=ADMIN_TOKEN, subprotocols=offers, **query)


async def test_channels_begin_with_their_ports_and_carry_data(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, tunnel), connect(bench, ports="80,80") as client:
        assert client.subprotocol == CHANNEL_SUBPROTOCOL
        assert [await client.receive() for _ in range(4)] == [bytes((channel, 80, 0)) for channel in range(4)]
        await client.send(b"\x02second")
        assert await client.receive() == b"\x02second"
        await client.send(b"\x00first")
        assert await client.receive() == b"\x00first"
        assert tunnel.requests[0].parameters == {"app": uid_of("App", "web"), "port": 80}
        # Nobody listens to error channels, unknown channels and text; they end nothing.
        for message in (b"\x01x", b"\x09x", b"", "text"):
            await client.send(message)
        await client.send(b"\x00again")
        assert await client.receive() == b"\x00again"


async def test_a_refused_port_is_told_on_its_error_channel_and_ends_when_all_have(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, _), connect(bench, ports="99") as client:
        for _ in range(2):
            await client.receive()
        uid = pod_uid(uid_of("App", "web"))
        text = f"error forwarding port 99 to pod web, uid {uid}: nothing answers"
        assert await client.receive() == b"\x01" + text.encode()
        assert await client.receive() is None
        assert client.close_code == 1000


async def test_an_app_that_hangs_up_ends_the_websocket(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, tunnel):
        async with connect(bench, ports="81") as client:
            for _ in range(2):
                await client.receive()
            assert await client.receive() == b"\x00bye"
            assert await client.receive() is None
        await tunnel.wait_count(lambda count: count == 0)


async def test_a_client_that_goes_ends_the_nodes_streams(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, tunnel):
        async with connect(bench, ports="80,80,80"):
            await tunnel.wait_count(lambda count: count == 3)
        await tunnel.wait_count(lambda count: count == 0)


async def test_a_cut_connection_to_the_node_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, tunnel), connect(bench, ports="80") as client:
        for _ in range(2):
            await client.receive()
        await tunnel.wait_count(lambda count: count == 1)
        await asyncio.sleep(0)
        tunnel.cut()
        told = await client.receive()
        assert told is not None
        assert b"the connection by node store-17 ended: the connection to the node broke" in told


@pytest.mark.parametrize(
    ("path", "offers", "code", "why"),
    [
        (PATH.replace("web", "none"), [SPDY_SUBPROTOCOL], 404, 'pods "none" not found'),
        (PATH, ["v9"], 400, "none of the offered WebSocket subprotocols"),
        (PATH, [CHANNEL_SUBPROTOCOL], 400, 'query parameter "ports" is required'),
        (PATH.replace("web", "lost"), [SPDY_SUBPROTOCOL], 400, "app lost does not run anywhere: it names node gone"),
    ],
)
async def test_what_cannot_be_is_refused_before_the_websocket_opens(
    tmp_path: Path, path: str, offers: list[str], code: int, why: str
) -> None:
    async with stage(tmp_path) as (bench, _):
        await bench.put(make_app("lost", nodeName="gone"))
        async with connect(bench, path, offers) as client:
            assert client.refusal is not None
            assert client.refusal.status == code
            assert why in client.refusal.json()["message"]


async def test_without_an_upgrade_it_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as (bench, _):
        answer = await AsgiClient(bench.api, ADMIN_TOKEN).call("POST", PATH)
        assert (answer.status, answer.json()["message"]) == (400, "Upgrade request required")


def test_ports_in_every_form_that_clients_use() -> None:
    assert parse_ports(b"ports=80,443") == [80, 443]
    assert parse_ports(b"ports=80&ports=81") == [80, 81]
    assert parse_ports(b"port=8080") == [8080]


@pytest.mark.parametrize(
    "query", [b"", b"ports=", b"ports=0", b"ports=65536", b"ports=80,x", b"ports=-1", b"ports=1" + b",1" * 64]
)
def test_bad_ports_are_named(query: bytes) -> None:
    with pytest.raises(ApiError, match="port"):
        parse_ports(query)

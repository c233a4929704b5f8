"""The HTTP client against real sockets: kept connections, proxies, sessions, clocks, limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eaves.node.link.client import HttpClient, Proxy, Route, Server
from eaves.node.link.errors import CertificateTimeError, DialError, IdentityError, TlsError, TransferError
from eaves.node.link.tls import want_context
from eaves.testing.authority import DAY, Authority
from eaves.testing.device_api_http import Answer, Request
from eaves.testing.foreign_controller import ForeignController
from eaves.testing.tcp_server import TcpServer

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """A TCP server on loopback; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()

    server = TcpServer(serve)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client_of(server: Server, root_pem: bytes = b"", **limits: float) -> AsyncIterator[HttpClient]:
    client = HttpClient(server, want_context(root_pem, use_system=False), **limits)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_connection_is_kept_for_the_next_request(tmp_path: Path) -> None:
    async with (
        ForeignController().running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        for _ in range(3):
            assert (await client.request("GET", "/api/v2/edgedevice/ping")).status == 200
        assert controller.connections == 1


async def test_tls_session_is_resumed_on_a_new_connection(tmp_path: Path) -> None:
    async with (
        ForeignController().running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        await client.request("GET", "/api/v2/edgedevice/ping")
        await client.close()
        await client.request("GET", "/api/v2/edgedevice/ping")
        assert (controller.connections, controller.resumed) == (2, 1)


async def test_a_request_under_way_when_the_trust_changes_leaves_nothing_to_the_new_one(tmp_path: Path) -> None:
    class Changing(ForeignController):
        """The client's trust changes between its question and the answer."""

        def _answer(self, request: Request) -> Answer | None:
            context = want_context(self.authority.root_pem, use_system=False)
            changes.append(asyncio.create_task(client.use_context(context)))
            return super()._answer(request)

    changes: list[asyncio.Task[None]] = []
    async with (
        Changing().running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        for number in range(1, 4):
            assert (await client.request("GET", "/api/v2/edgedevice/ping")).status == 200
            await changes[-1]
            assert (controller.connections, controller.resumed) == (number, 0)


async def test_kept_connection_that_the_server_closed_is_replaced_unseen(tmp_path: Path) -> None:
    async with (
        ForeignController().running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        await client.request("GET", "/api/v2/edgedevice/ping")
        await controller.stop()
        await controller.start(tmp_path)
        assert (await client.request("GET", "/api/v2/edgedevice/ping")).status == 200


@pytest.mark.parametrize(
    ("lifetime", "words"),
    [((-30 * DAY, -10 * DAY), "has expired"), ((10 * DAY, 30 * DAY), "is not yet valid")],
)
async def test_wrong_clock_is_told_apart_from_a_foreign_certificate(
    tmp_path: Path, lifetime: tuple[datetime.timedelta, datetime.timedelta], words: str
) -> None:
    async with (
        ForeignController(Authority(server_lifetime=lifetime)).running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        with pytest.raises(CertificateTimeError, match=words) as caught:
            await client.request("GET", "/api/v2/edgedevice/ping")
    assert "clock" in caught.value.resolution


async def test_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    async with (
        ForeignController().running(tmp_path) as controller,
        client_of(Server("localhost", controller.port), Authority().root_pem) as client,
    ):
        with pytest.raises(TlsError, match="not trusted") as caught:
            await client.request("GET", "/api/v2/edgedevice/ping")
    assert not isinstance(caught.value, CertificateTimeError)


async def test_server_under_another_name_is_refused(tmp_path: Path) -> None:
    # The certificate names localhost and 127.0.0.1; nobody listens on 127.0.0.2, so a proxy leads there.
    async with (
        ForeignController().running(tmp_path) as controller,
        client_of(Server("127.0.0.2", controller.port), controller.authority.root_pem) as client,
        listening(want_proxy([], controller.port)) as port,
    ):
        with pytest.raises(TlsError):
            await client.request("GET", "/ping", route=Route("", Proxy("127.0.0.1", port)))


def want_proxy(asked: list[bytes], target_port: int, status: bytes = b"200 Connection established") -> Talk:
    """A CONNECT proxy that notes what it was asked and always leads to one port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_head(reader))
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        if not status.startswith(b"200"):
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    return talk


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        # Also of a talk that is cancelled, which knows nothing of the way on.
        writer.close()


async def test_proxy_tunnels_and_gets_the_credentials(tmp_path: Path) -> None:
    asked: list[bytes] = []
    async with (
        ForeignController().running(tmp_path) as controller,
        listening(want_proxy(asked, controller.port)) as port,
        client_of(Server("localhost", controller.port), controller.authority.root_pem) as client,
    ):
        route = Route("127.0.0.1", Proxy("127.0.0.1", port, "joe", "s:cret"))
        answers = [await client.request("GET", "/api/v2/edgedevice/ping", route=route) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert len(asked) == 1
    assert asked[0].startswith(f"CONNECT localhost:{controller.port} HTTP/1.1\r\n".encode())
    assert base64.b64encode(b"joe:s:cret") in asked[0]


async def test_proxy_that_wants_credentials_says_so(tmp_path: Path) -> None:
    async with (
        listening(want_proxy([], 1, b"407 Proxy Authentication Required")) as port,
        client_of(Server("controller.invalid")) as client,
    ):
        with pytest.raises(DialError, match="407") as caught:
            await client.request("GET", "/ping", route=Route("", Proxy("127.0.0.1", port)))
    assert "password" in caught.value.resolution


async def test_source_address_is_used() -> None:
    peers: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        await read_head(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async with listening(talk) as port, client_of(Server("127.0.0.1", port, is_tls=False)) as client:
        assert (await client.request("GET", "/", route=Route("127.0.0.9"))).status == 204
    assert peers == ["127.0.0.9"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "not an HTTP answer|closed"),
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP answer"),
        (b"", "not an HTTP answer|closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + bytes(5000), "larger than 1000"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n" + bytes(1000) + b"\r\n1\r\nx\r\n",
            "larger",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000, "not an HTTP answer"),
    ],
)
async def test_answers_that_are_none_end_in_a_transfer_error(answer: bytes, words: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        with contextlib.suppress(ConnectionError):
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with (
        listening(talk) as port,
        client_of(Server("127.0.0.1", port, is_tls=False), answer_limit_bytes=1000) as client,
    ):
        with pytest.raises(TransferError, match=words):
            await client.request("GET", "/")


async def test_silent_server_is_given_up_on() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        listening(talk) as port,
        client_of(Server("127.0.0.1", port, is_tls=False), send_timeout_s=0.05) as client,
    ):
        with pytest.raises(TransferError, match="no answer within"):
            await client.request("POST", "/", body=b"x" * 100)


async def test_server_that_never_ends_the_handshake_is_given_up_on() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        listening(talk) as port,
        client_of(Server("127.0.0.1", port), dial_timeout_s=0.05) as client,
    ):
        with pytest.raises(DialError, match="no connection within"):
            await client.request("GET", "/")


async def test_refused_connection_names_the_server() -> None:
    async with listening(lambda _r, _w: asyncio.sleep(0)) as port:
        pass
    async with client_of(Server("127.0.0.1", port)) as client:
        with pytest.raises(DialError, match=f"127.0.0.1:{port}"):
            await client.request("GET", "/")


async def test_early_refusal_of_a_large_body_is_the_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with listening(talk) as port, client_of(Server("127.0.0.1", port, is_tls=False)) as client:
        assert (await client.request("POST", "/", body=bytes(4 << 20))).status == 413


def test_trusted_certificate_that_is_none_is_named_at_start() -> None:
    with pytest.raises(IdentityError, match="cannot be read"):
        want_context(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", use_system=False)


def test_authority_leaves_out_the_usual_port() -> None:
    assert Server("edge.example").authority == "edge.example"
    assert Server("edge.example", 8443).authority == "edge.example:8443"
    assert Server("2001:db8::1", 8443).authority == "[2001:db8::1]:8443"


async def test_dates_are_disregarded_only_while_the_clock_is_certainly_behind(tmp_path: Path) -> None:
    authority = Authority(server_lifetime=(10 * DAY, 30 * DAY))
    is_behind = True
    async with ForeignController(authority).running(tmp_path) as controller:
        context = want_context(authority.root_pem, use_system=False, is_clock_behind=lambda: is_behind)
        client = HttpClient(Server("localhost", controller.port), context)
        assert (await client.request("GET", "/api/v2/edgedevice/ping")).status == 200
        await client.close()
        is_behind = False
        # A resumed session would not show the certificate again.
        context.sessions.clear()
        with pytest.raises(CertificateTimeError):
            await client.request("GET", "/api/v2/edgedevice/ping")


async def test_a_foreign_server_is_refused_whatever_the_clock_says(tmp_path: Path) -> None:
    async with ForeignController().running(tmp_path) as controller:
        context = want_context(Authority().root_pem, use_system=False, is_clock_behind=lambda: True)
        with pytest.raises(TlsError, match="not trusted"):
            await HttpClient(Server("localhost", controller.port), context).request("GET", "/api/v2/edgedevice/ping")


async def test_what_is_under_way_fails_at_once_when_the_addresses_changed() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await reader.read()
        writer.close()

    async with listening(talk) as port, client_of(Server("127.0.0.1", port, is_tls=False)) as client:
        request = asyncio.create_task(client.request("GET", "/"))
        await asked.wait()
        client.abort()
        with pytest.raises(TransferError):
            await request


async def test_a_request_leaves_by_the_interface_that_it_is_bound_to() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async with listening(talk) as port, client_of(Server("127.0.0.1", port, is_tls=False)) as client:
        assert (await client.request("GET", "/", route=Route("127.0.0.1", None, "lo"))).status == 204
        with pytest.raises(DialError, match="no connection"):
            await client.request("GET", "/", route=Route("127.0.0.1", None, "eaves-nowhere"))

"""The listener: faults show early with a remedy, certificates change without a restart, a stop lets answers finish."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from eaves.controller.serving import CertificateFilesError, Listener, ListenError, TlsFiles, bind


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def write_pair(folder: Path, authority: trustme.CA) -> TlsFiles:
    save_pair(folder, authority)
    return TlsFiles(folder / "cert.pem", folder / "key.pem")


def save_pair(folder: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(folder / "key.pem")


async def serial(port: int, authority: trustme.CA) -> str:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    return str(certificate["serialNumber"])


async def test_answers_over_tls_and_stops_when_cancelled(tmp_path: Path) -> None:
    authority = trustme.CA()
    listener = Listener(hello, "127.0.0.1", 0, tls=write_pair(tmp_path, authority))
    running = asyncio.create_task(listener.run())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with httpx2.AsyncClient(verify=context) as client:
        answer = await client.get(f"https://127.0.0.1:{listener.port}/")
    assert answer.text == "hi"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", listener.port)


async def test_a_handshake_under_way_ends_with_the_server(tmp_path: Path) -> None:
    authority = trustme.CA()
    listener = Listener(hello, "127.0.0.1", 0, tls=write_pair(tmp_path, authority))
    running = asyncio.create_task(listener.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await serial(listener.port, authority)
    assert len(asyncio.all_tasks()) > 3  # The first is taken before the second.
    listener.stop()
    await running
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_a_client_that_does_not_answer_the_end_of_tls_is_not_waited_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    listener = Listener(hello, "127.0.0.1", 0, tls=write_pair(tmp_path, authority), stop_timeout_s=1)
    running = asyncio.create_task(listener.run())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    # The loop opens what it keeps.
    await serial(listener.port, authority)
    before = count_descriptors()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"hi")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads, too
    listener.stop()
    await running
    assert count_descriptors() == before, "one more of the client's, the listening one less"
    writer.transport.abort()


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def test_a_refused_websocket_is_answered_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(refuse, "127.0.0.1", 0, tls=None)
    running = asyncio.create_task(listener.run())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n".encode())
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"\r\n\r\nno")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_reloaded_certificate_serves_new_connections(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = write_pair(tmp_path, authority)
    listener = Listener(hello, "127.0.0.1", 0, tls=files)
    running = asyncio.create_task(listener.run())
    before = await serial(listener.port, authority)
    save_pair(tmp_path, authority)
    files.reload()
    after = await serial(listener.port, authority)
    assert before != after
    listener.stop()
    await running


async def test_a_bad_certificate_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = write_pair(tmp_path, authority)
    listener = Listener(hello, "127.0.0.1", 0, tls=files)
    running = asyncio.create_task(listener.run())
    before = await serial(listener.port, authority)
    (tmp_path / "cert.pem").write_text("rubbish")
    with pytest.raises(CertificateFilesError, match="cert"):
        files.reload()
    assert await serial(listener.port, authority) == before
    listener.stop()
    await running


def test_a_port_in_use_names_the_remedy() -> None:
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(ListenError, match="in use") as caught:
        bind("127.0.0.1", port)
    assert str(port) in caught.value.resolution
    taken.close()


def test_a_foreign_address_is_told_apart() -> None:
    with pytest.raises(ListenError, match="not an address of this machine"):
        bind("192.0.2.1", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")
def test_brackets_are_not_needed_for_ipv6() -> None:
    bind("::", 0).close()

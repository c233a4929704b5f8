"""Streams end whatever the other side does: a handshake that breaks off, a peer that says nothing to the end."""

from __future__ import annotations

import asyncio
import gc
import ssl

import pytest
import trustme

from eaves.kit import streams
from eaves.testing.tcp_server import TcpServer


@pytest.mark.parametrize("first", [b"", b"no TLS at all\n"], ids=["closed at once", "not TLS"])
async def test_a_handshake_that_ends_early_is_an_oserror(first: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        writer.close()

    server = TcpServer(serve)
    await server.start()
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(OSError):
            await asyncio.wait_for(
                streams.start_tls(writer, ssl.create_default_context(), server_hostname="localhost"), 20
            )
        assert writer.is_closing()
    finally:
        await server.stop()
    del writer, _reader
    # A writer without its transport would be told here as an unraisable error, which fails the test.
    gc.collect()


async def test_a_peer_that_does_not_answer_the_end_of_tls_leaves_no_socket_behind() -> None:
    is_silent = asyncio.Event()
    authority, silent = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(silent)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        below = writer.transport
        assert isinstance(below, asyncio.Transport)
        await streams.start_tls(writer, silent)
        # What is below TLS reads nothing any more, so that its end is not answered either.
        below.pause_reading()
        is_silent.set()
        await asyncio.Event().wait()

    server = TcpServer(serve)
    await server.start()
    try:
        _reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost"
        )
        await is_silent.wait()
        connected = writer.get_extra_info("socket")
        await streams.close(writer, within_s=0.05)
        # An aborted transport closes its socket in the loop's next turn.
        await asyncio.sleep(0)
        assert connected.fileno() == -1
    finally:
        await server.stop()

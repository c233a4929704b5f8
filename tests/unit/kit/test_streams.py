"""A TLS handshake that ends early is an OSError on every version of Python, and leaves nothing that complains later."""

from __future__ import annotations

import asyncio
import gc
import ssl

import pytest

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

"""TLS on an open stream, with one outcome for every way in which a handshake can end early."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast


async def start_tls(
    writer: asyncio.StreamWriter, context: ssl.SSLContext, *, server_hostname: str | None = None
) -> None:
    """Upgrade the stream; its plain transport is aborted when that fails.

    Raises OSError (ssl.SSLError among them); ConnectionResetError when the other side went away during the handshake, which asyncio
    itself tells by leaving the writer without a transport, and then trips over when the writer is collected.
    """
    plain = writer.transport
    try:
        await writer.start_tls(context, server_hostname=server_hostname)
    except BaseException:
        plain.abort()
        raise
    if cast(object, writer.transport) is None:
        writer._transport = plain  # type: ignore[attr-defined] # there is no public way to give it back
        plain.abort()
        raise ConnectionResetError("closed during the TLS handshake")

"""Beginning TLS on an open stream, and ending a stream, with one outcome for every way in which the other side can fail to play along."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast


async def start_tls(
    writer: asyncio.StreamWriter, context: ssl.SSLContext, *, server_hostname: str | None = None
) -> None:
    """Upgrade the stream. When that fails the stream is over: its transport is aborted, and it must not be waited for again.

    Raises OSError (ssl.SSLError among them); ConnectionResetError when the other side went away during the handshake, which asyncio
    itself tells by leaving the writer without a transport. Some versions of Python then fail with an AttributeError, at once or when
    the writer is collected.
    """
    plain = writer.transport
    try:
        await writer.start_tls(context, server_hostname=server_hostname)
    except BaseException as error:
        plain.abort()
        if _restore(writer, plain) and isinstance(error, AttributeError):
            raise ConnectionResetError(_CLOSED) from error
        raise
    if _restore(writer, plain):
        plain.abort()
        raise ConnectionResetError(_CLOSED)


async def close(writer: asyncio.StreamWriter, within_s: float = 1.0) -> None:
    """End the stream and wait until it is over; a peer that does not take the last bytes or answer the end of TLS is cut off in time.

    asyncio itself would hold the socket for half a minute, and forever when its loop ends before.
    """
    if not writer.is_closing():
        # Else a TLS transport of Python 3.11 forgets its protocol, and can no longer be aborted.
        writer.close()
    try:
        async with asyncio.timeout(within_s):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        # It is over all the same, and nobody asks how.
        return
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


_CLOSED = "closed during the TLS handshake"


def _restore(writer: asyncio.StreamWriter, plain: asyncio.WriteTransport) -> bool:
    """Whether the writer had lost its transport; it has the plain one again."""
    if cast(object, writer.transport) is not None:
        return False
    writer._transport = plain  # type: ignore[attr-defined] # there is no public way to give it back
    return True

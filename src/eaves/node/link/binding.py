"""Connections that leave by one interface, whatever the host's routes prefer."""

from __future__ import annotations

import asyncio
import socket


async def connect_bound(host: str, port: int, *, source: str, interface: str) -> socket.socket:
    """A connected TCP socket. Raises OSError (the last one, of several addresses) as the system does."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for _family, kind, protocol, _name, address in found:
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            made.bind((source, 0))
            await loop.sock_connect(made, address)
        except OSError as error:
            made.close()
            failure = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure or OSError(f"{host} has no address of this family")

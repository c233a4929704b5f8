"""Streams to a Unix socket that belongs to an app: the serial line and the screen of a virtual machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from eaves.node.observed import Observations
from eaves.node.tunnel.abc import Handler, Offer, RefusedError
from eaves.node.tunnel.apps import accept_and_relay, find_running
from eaves.wire.tunnel import RefusalCode, StreamRequest, parse_parameters

CONNECT_TIMEOUT_S = 5.0


class Wanted(Struct, frozen=True):
    """The request's parameters."""

    app: str


class UnixSocket(Handler):
    """``path_of`` gives the socket of an app by its id; ``what`` is what people call it."""

    def __init__(self, observations: Observations, path_of: Callable[[str], Path], what: str) -> None:
        self._observations = observations
        self._path_of = path_of
        self._what = what

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        wanted = parse_parameters(request, Wanted)
        find_running(self._observations, wanted.app)
        connected = await self._connect(self._path_of(wanted.app))
        await accept_and_relay(offer, connected)

    async def _connect(self, path: Path) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(made, str(path))
        except FileNotFoundError as error:
            made.close()
            raise RefusedError(RefusalCode.UNSUPPORTED, f"the machine runs without a {self._what}") from error
        except OSError as error:
            made.close()
            raise RefusedError(RefusalCode.FAILED, f"the machine's {self._what} does not answer") from error
        except BaseException:
            made.close()
            raise
        return made

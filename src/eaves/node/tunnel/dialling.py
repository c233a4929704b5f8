"""Connects to a port of an app as its own programs would: on the loopback of its network namespace, or at a machine's address.

A namespace belongs to a thread, and a socket to the namespace in which it was made: so a thread that ends right after enters it and makes
the socket; everything else happens on the loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.wire.tunnel import CONNECT_TIMEOUT_S

NEXT_AFTER_S = 5.0
"""An address of a machine that has gone is silent too."""
LOOPBACK = ("127.0.0.1", "::1")
_CLONE_NEWNET = 0x40000000


class ConnectError(EavesError):
    """No connection to a port of an app."""

    code = "CannotConnect"


async def connect(hosts: Sequence[str], port: int, netns: Path | None = None) -> socket.socket:
    """A connection to the first of ``hosts`` (addresses) that answers, from inside ``netns`` if given. Raises ConnectError.

    They are tried in their order, the next when one has failed or is silent for :data:`NEXT_AFTER_S`; a silent one may still answer.
    """
    waiting = list(hosts)
    reasons: list[str] = []
    attempts: dict[asyncio.Task[socket.socket], str] = {}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while waiting or attempts:
                if waiting:
                    host = waiting.pop(0)
                    attempts[asyncio.create_task(_connect_one(host, port, netns), name=f"dial {host}")] = host
                limit_s = NEXT_AFTER_S if waiting else None
                done, _ = await asyncio.wait(attempts, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    host = attempts.pop(task)
                    if (error := task.exception()) is None:
                        return task.result()
                    if not isinstance(error, OSError):
                        raise error
                    if error.errno != errno.EADDRNOTAVAIL or host == hosts[0]:
                        # Else the app's network has no addresses of that family, which is no reason.
                        reasons.append(f"{host}: {_describe(error)}")
    except TimeoutError:
        reasons += [f"{host}: no answer within {CONNECT_TIMEOUT_S:g} s" for host in attempts.values()]
    finally:
        await _give_up(attempts)
    raise ConnectError(f"nothing answers on port {port} ({'; '.join(reasons) or 'the app has no address'})")


async def _connect_one(host: str, port: int, netns: Path | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = await make_socket_in(netns, family) if netns is not None else socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    return made


async def _give_up(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    """Whatever is left of them when one has connected, be it that another did at the same moment."""
    for task in attempts:
        task.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()


async def make_socket_in(netns: Path, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket of the namespace. Raises OSError."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[socket.socket] = loop.create_future()

    def finish(found: socket.socket | None, error: OSError | None) -> None:
        if made.done():
            if found is not None:
                found.close()
        elif found is not None:
            made.set_result(found)
        elif error is not None:
            made.set_exception(error)

    def work() -> None:
        try:
            _enter(netns)
            found, error = socket.socket(family, socket.SOCK_STREAM), None
        except OSError as failure:
            found, error = None, failure
        loop.call_soon_threadsafe(finish, found, error)

    # Not of a pool: its next task would find itself inside the namespace.
    threading.Thread(target=work, name="socket in a namespace", daemon=True).start()
    return await made


def _enter(netns: Path) -> None:
    # Python's own os.setns came with 3.12.
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _describe(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    # asyncio's own text holds the address again.
    return os.strerror(error.errno).lower() if error.errno else str(error)

"""``kubectl eaves vnc``: a local port for any VNC viewer, through the controller to a virtual machine's screen.

Credentials, proxies and the controller's certificate are kubectl's business: a ``kubectl proxy`` on a Unix socket in a private folder does
the talking, restricted to this one path, and each viewer's connection is one WebSocket through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eaves.cli.kubectl import Kubectl, KubectlError
from eaves.kit.errors import EavesError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

READ_BYTES = 64 * 1024
END_TIMEOUT_S = 5.0

Say = Callable[[str], None]


def screen_path(namespace: str, name: str) -> str:
    return f"/apis/eaves.dev/v1alpha1/namespaces/{namespace}/apps/{name}/vnc"


def run_screen(kubectl: Kubectl, path: str, address: str, port: int, say: Say) -> None:
    """Listen at ``address`` (``port`` 0 = a free one) until SIGINT or SIGTERM. Raises EavesError."""
    with open_proxy(kubectl, path) as socket_path:
        asyncio.run(_listen(socket_path, path, address, port, say))


@contextlib.contextmanager
def open_proxy(kubectl: Kubectl, path: str) -> Iterator[Path]:
    """The Unix socket of a kubectl proxy for ``path`` alone."""
    with tempfile.TemporaryDirectory(prefix="eaves-vnc-") as folder:
        socket_path = Path(folder) / "proxy.sock"
        command = kubectl.argv(
            "proxy", f"--unix-socket={socket_path}", f"--accept-paths=^{re.escape(path)}$", "--reject-paths=^$"
        )
        # Its own session: Ctrl-C is ours to handle, and it ends with us.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            if "Starting to serve" not in first:
                raise KubectlError(f"kubectl proxy does not start: {first.strip()}")
            yield socket_path
        finally:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


async def _listen(socket_path: Path, path: str, address: str, port: int, say: Say) -> None:
    viewers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        viewers.add(task)
        try:
            await _show(socket_path, path, reader, writer)
        except EavesError as error:
            say(f"viewer turned away: {error}")
        finally:
            viewers.discard(task)
            writer.close()

    try:
        server = await asyncio.start_server(serve, address, port)
    except OSError as error:
        remedy = "choose another with --port, or leave it out for a free one"
        raise EavesError(f"{address}:{port} cannot be listened on: {error.strerror}", resolution=remedy) from error
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, bound = server.sockets[0].getsockname()[:2]
    say(f"VNC at {host}:{bound}; open it with any viewer, Ctrl-C ends it")
    async with server:
        await stopped.wait()
        for task in viewers:
            task.cancel()
        if viewers:
            await asyncio.wait(set(viewers))


async def _show(socket_path: Path, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One viewer, until it or the machine has gone. Raises EavesError when the controller refuses it."""
    from websockets.asyncio.client import unix_connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    try:
        screen = await unix_connect(
            str(socket_path), f"ws://localhost{path}", compression=None, max_size=None, ping_interval=None
        )
    except InvalidStatus as error:
        raise EavesError(message_of(bytes(error.response.body or b""))) from error
    except OSError as error:
        raise EavesError(f"kubectl proxy does not answer: {error}") from error
    pumps = {asyncio.create_task(_pump_up(reader, screen)), asyncio.create_task(_pump_down(screen, writer))}
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        results = await asyncio.gather(*pumps, return_exceptions=True)
        await screen.close()
    for result in results:
        if isinstance(result, ConnectionClosed) and result.rcvd is not None and result.rcvd.reason:
            raise EavesError(f"the screen has gone: {result.rcvd.reason}")
        if isinstance(result, Exception) and not isinstance(result, OSError | ConnectionClosed):
            raise result


async def _pump_up(reader: asyncio.StreamReader, screen: ClientConnection) -> None:
    while data := await reader.read(READ_BYTES):
        await screen.send(data)


async def _pump_down(screen: ClientConnection, writer: asyncio.StreamWriter) -> None:
    while True:
        message = await screen.recv()
        writer.write(message if isinstance(message, bytes) else message.encode())
        await writer.drain()


def message_of(body: bytes) -> str:
    """What a Status says; the text itself when it is none."""
    text = body.decode(errors="replace").strip()
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict) and document.get("message"):
            return str(document["message"])
    return text or "the controller refused it"

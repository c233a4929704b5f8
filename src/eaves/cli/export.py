"""``kubectl eaves export``: the image of a disk into a local file, through the controller.

A connection that breaks is made again, and goes on where it was; the file has its name only when its checksum is right. kubectl's proxy
does the talking, as for a screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from eaves.cli.kubectl import Kubectl
from eaves.cli.screen import message_of, open_proxy
from eaves.kit.errors import EavesError
from eaves.wire.export import LINE_LIMIT_BYTES, ExportLine, decode_line

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

EXAMPLES = """Examples:

\b
  kubectl eaves export plc plc.qcow2
  kubectl eaves export app/plc data.qcow2 --disk data --snapshot before-upgrade
  kubectl eaves export volume/recipes recipes.qcow2"""

_ATTEMPTS = 8
_PAUSE_S = 2.0
_KINDS = {
    "app": "apps",
    "apps": "apps",
    "ea": "apps",
    "": "apps",
    "volume": "volumes",
    "volumes": "volumes",
    "vol": "volumes",
}

Show = Callable[[str], None]


class _CutError(Exception):
    """The connection broke; another may go on."""


class Progress(Struct):
    """What is here. ``line`` announced the image; None while it is in the making."""

    line: ExportLine | None = None
    got_bytes: int = 0


def find_path(namespace: str, target: str) -> str:
    """The path of the subresource for ``NAME``, ``app/NAME`` or ``volume/NAME``. Raises EavesError."""
    kind, _, name = target.rpartition("/")
    if kind not in _KINDS or not name:
        raise EavesError(
            f"{target!r} is neither a virtual machine nor a volume", resolution="name app/NAME or volume/NAME"
        )
    return f"/apis/eaves.dev/v1alpha1/namespaces/{namespace}/{_KINDS[kind]}/{name}/export"


def run_export(kubectl: Kubectl, path: str, query: Mapping[str, str], target: Path, show: Show) -> ExportLine:
    """Fetch the image into ``target``. Raises EavesError; then nothing is left but what was there before."""
    part = target.with_name(f"{target.name}.part")
    try:
        with open_proxy(kubectl, path) as socket_path:
            line = asyncio.run(_fetch(socket_path, path, query, part, show))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return line


async def _fetch(socket_path: Path, path: str, query: Mapping[str, str], part: Path, show: Show) -> ExportLine:
    progress = Progress()
    attempts = 0
    while True:
        before = progress.got_bytes
        try:
            await _receive(socket_path, path, query, part, progress, show)
        except _CutError as error:
            # Every piece that arrives is worth another try.
            attempts = 1 if progress.got_bytes > before else attempts + 1
            if progress.line is None or attempts >= _ATTEMPTS:
                raise EavesError(f"the export broke off: {error}", resolution="start it again") from error
            show(f"connection lost at {progress.got_bytes} bytes, going on")
            await asyncio.sleep(_PAUSE_S)
            continue
        assert progress.line is not None
        if await asyncio.to_thread(_hash, part) != progress.line.sha256:
            raise EavesError("what arrived is not what was sent: its checksum differs", resolution="start it again")
        return progress.line


async def _receive(
    socket_path: Path, path: str, query: Mapping[str, str], part: Path, progress: Progress, show: Show
) -> None:
    """One connection, until all is here. Raises _CutError when it breaks, EavesError for what another would not change."""
    from websockets.asyncio.client import unix_connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    wanted = dict(query)
    if progress.line is not None:
        wanted |= {"token": progress.line.token, "offset": str(progress.got_bytes)}
    url = f"ws://localhost{path}?{urllib.parse.urlencode(wanted)}"
    try:
        connection = await unix_connect(str(socket_path), url, compression=None, max_size=None, ping_interval=None)
    except InvalidStatus as error:
        text = message_of(bytes(error.response.body or b""))
        if error.response.status_code >= 500 and progress.line is not None:
            raise _CutError(text) from error
        raise EavesError(text) from error
    except OSError as error:
        raise EavesError(f"kubectl proxy does not answer: {error}") from error
    try:
        await _take(connection, part, progress, show)
    except ConnectionClosed as error:
        reason = error.rcvd.reason if error.rcvd is not None else ""
        if progress.line is None or progress.got_bytes < progress.line.size_bytes:
            raise _CutError(reason or "the connection was lost") from error
    finally:
        await connection.close()


async def _take(connection: ClientConnection, part: Path, progress: Progress, show: Show) -> None:
    rest = await _take_lines(connection, progress, show)
    line = progress.line
    assert line is not None
    with await asyncio.to_thread(part.open, "r+b" if progress.got_bytes else "wb") as file:
        file.seek(progress.got_bytes)
        file.truncate()
        while True:
            await asyncio.to_thread(file.write, rest)
            progress.got_bytes += len(rest)
            show(f"{100 * progress.got_bytes // max(line.size_bytes, 1)} % of {line.size_bytes} bytes")
            if progress.got_bytes >= line.size_bytes:
                return
            rest = await _next(connection)


async def _take_lines(connection: ClientConnection, progress: Progress, show: Show) -> bytes:
    """Until the image is announced; answers what came of it with that. Raises EavesError when there will be none."""
    buffer = b""
    while True:
        while b"\n" not in buffer:
            if len(buffer) > LINE_LIMIT_BYTES:
                raise EavesError("the node answers what is no export")
            buffer += await _next(connection)
        raw, _, buffer = buffer.partition(b"\n")
        line = decode_line(raw)
        if line.error:
            raise EavesError(line.error, resolution=line.resolution)
        if line.sha256:
            progress.line = line
            return buffer
        show(f"the node makes the image: {line.made_bytes >> 20} MiB")


async def _next(connection: ClientConnection) -> bytes:
    message = await connection.recv()
    return message if isinstance(message, bytes) else message.encode()


def _hash(path: Path) -> str:
    with contextlib.closing(path.open("rb")) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

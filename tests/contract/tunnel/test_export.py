"""The receiving end of an export: goes on where the connection broke, and gives no file that is not what was sent."""

from __future__ import annotations

import hashlib
import os
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, unix_serve

from eaves.cli import export
from eaves.kit.errors import EavesError
from eaves.wire.export import ExportLine, encode_line

pytestmark = pytest.mark.contract

CONTENT = os.urandom(300_000)
PATH = "/export"


class Node:
    """Sends ``CONTENT``, and breaks off after ``pieces`` of it; ``asked`` are the offsets that were asked for."""

    def __init__(self, *pieces: int, sha256: str = "", error: str = "") -> None:
        self.asked: list[tuple[str, int]] = []
        self._pieces = list(pieces)
        self._sha256 = sha256 or hashlib.sha256(CONTENT).hexdigest()
        self._error = error

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(connection.request.path).query))
        offset = int(query.get("offset", 0))
        self.asked.append((query.get("token", ""), offset))
        await connection.send(encode_line(ExportLine(made_bytes=5)))
        if self._error:
            await connection.send(encode_line(ExportLine(error=self._error, resolution="make room")))
            return
        head = encode_line(ExportLine(token="t", size_bytes=len(CONTENT), sha256=self._sha256))
        length = self._pieces.pop(0) if self._pieces else len(CONTENT)
        piece = CONTENT[offset : offset + length]
        await connection.send(head + piece[:1000])
        await connection.send(piece[1000:])
        if offset + len(piece) < len(CONTENT):
            connection.transport.abort()


@asynccontextmanager
async def serving(node: Node, folder: Path) -> AsyncIterator[Path]:
    path = folder / "node.sock"
    async with unix_serve(node.serve, str(path), compression=None):
        yield path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PAUSE_S", 0.0)


async def fetch(node: Node, folder: Path) -> bytes:
    async with serving(node, folder) as path:
        line = await export._fetch(path, PATH, {"disk": "data"}, folder / "part", lambda _: None)
    assert line.size_bytes == len(CONTENT)
    return (folder / "part").read_bytes()


async def test_a_cut_connection_goes_on_where_it_was(tmp_path: Path) -> None:
    node = Node(100_000, 50_000)
    assert await fetch(node, tmp_path) == CONTENT
    assert node.asked == [("", 0), ("t", 100_000), ("t", 150_000)]


async def test_another_content_than_was_announced_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(EavesError, match="checksum"):
        await fetch(Node(sha256="0" * 64), tmp_path)


async def test_what_the_node_says_against_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(EavesError, match="no room") as caught:
        await fetch(Node(error="no room to make an image"), tmp_path)
    assert caught.value.resolution == "make room"


async def test_a_connection_that_never_holds_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(EavesError, match="broke off"):
        await fetch(Node(*[0] * 100), tmp_path)


def test_targets() -> None:
    assert export.find_path("shop", "plc").endswith("/namespaces/shop/apps/plc/export")
    assert export.find_path("shop", "volume/data").endswith("/namespaces/shop/volumes/data/export")
    with pytest.raises(EavesError, match="neither"):
        export.find_path("shop", "secret/x")

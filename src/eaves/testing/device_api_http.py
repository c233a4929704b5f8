"""The server's side of the device API's HTTP, by h11 over streams."""

from __future__ import annotations

import asyncio

import h11
from msgspec import Struct

from eaves.wire import paths

_BASE = "/api/v2/edgedevice/"


class Request(Struct, frozen=True):
    """One request as it came; ``path`` without the base."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(Struct, frozen=True):
    status: int
    body: bytes = b""


async def read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode(): value.decode() for name, value in head.headers}
            path = head.target.decode()
            return Request(head.method.decode(), path.removeprefix(_BASE), headers, bytes(body))
        else:
            return None


async def write_answer(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = [("Content-Length", str(len(answer.body)))] if answer.status not in (204, 304) else []
    if answer.body:
        kind = "application/json" if answer.body.startswith(b"{") else paths.CONTENT_TYPE
        headers.append(("Content-Type", kind))
    writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
    if answer.body:
        writer.write(connection.send(h11.Data(data=answer.body)) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()

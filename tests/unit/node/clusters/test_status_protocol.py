"""EVE's status protocol: what a server answers and whom a joiner believes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from eaves.node.clusters.joining import Answer, ask, ask_all, judge
from eaves.node.clusters.statusserver import SharedSettings, StatusServer, render_answer

CLUSTER = "60000000-0000-4000-8000-000000000001"
READY = SharedSettings(CLUSTER, "vxlan", 2)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_a_ready_server_tells_its_cluster_as_eve_does() -> None:
    assert body_of(render_answer(b"GET /status HTTP/1.1\r\n\r\n", READY)) == f"cluster:{CLUSTER}".encode()


def test_one_that_is_not_ready_answers_with_nothing() -> None:
    answer = render_answer(b"GET /status HTTP/1.1\r\n\r\n", None)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert body_of(answer) == b""


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"GET /app HTTP/1.1\r\n\r\n", b"404"), (b"POST /status HTTP/1.1\r\n\r\n", b"405"), (b"\r\n\r\n", b"405")],
)
def test_nothing_else_is_answered(head: bytes, status: bytes) -> None:
    assert render_answer(head, READY).split(b" ")[1] == status


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(CLUSTER), ""),
        (Answer(), "not ready"),
        (Answer("other"), "another cluster"),
        (Answer(reason="it does not answer: refused"), "does not answer"),
    ],
)
def test_whom_a_joiner_believes(answer: Answer, reason: str) -> None:
    found = judge(answer, CLUSTER)
    assert found == "" if not reason else reason in found


def test_a_server_that_has_not_restored_yet_is_not_joined() -> None:
    assert "restored" in judge(Answer(CLUSTER, settings=SharedSettings(CLUSTER, "", 1)), CLUSTER, 2)
    assert judge(Answer(CLUSTER, settings=READY), CLUSTER, 2) == ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_server_and_joiner_understand_each_other() -> None:
    port = free_port()
    server = StatusServer(port)
    await server.open("127.0.0.1")
    try:
        assert judge(await ask("127.0.0.1", port=port), CLUSTER) == "it is not ready yet"
        server.settings = READY
        answer = await ask("127.0.0.1", port=port)
        assert (answer.cluster_id, answer.settings) == (CLUSTER, READY)
        assert (await ask_all(["127.0.0.2", "127.0.0.1"], CLUSTER, port=port))[0] == "127.0.0.1"
    finally:
        await server.close()
    assert "does not answer" in judge(await ask("127.0.0.1", port=port), CLUSTER)


async def test_a_server_of_eve_is_understood() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        known = head.startswith(b"GET /status ")
        body = f"cluster:{CLUSTER.upper()}".encode() if known else b"404 page not found\n"
        status = b"200 OK" if known else b"404 Not Found"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        found = await ask("127.0.0.1", port=port)
    assert judge(found, CLUSTER) == ""
    assert found.settings == SharedSettings()


async def test_who_says_nothing_holds_up_nobody() -> None:
    port = free_port()
    server = StatusServer(port)
    server.settings = READY
    await server.open("127.0.0.1")
    try:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        assert judge(await ask("127.0.0.1", port=port), CLUSTER) == ""
        for _, writer in silent:
            writer.close()
    finally:
        await server.close()

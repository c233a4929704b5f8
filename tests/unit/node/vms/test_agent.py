"""What a guest's agent says, which may be anything."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from eaves.node.observed_vm import GuestInterface
from eaves.node.vms.agent import load_facts, parse_interfaces, set_clock


def test_interfaces_without_loopback() -> None:
    answer = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8, "ip-address-type": "ipv4"}]},
        {
            "name": "eth0",
            "hardware-address": "02:00:00:00:00:01",
            "ip-addresses": [{"ip-address": "10.0.0.2", "prefix": 24}, {"ip-address": "fe80::1", "prefix": 64}],
        },
        {"name": "eth1"},
    ]
    assert parse_interfaces(answer) == (
        GuestInterface("eth0", "02:00:00:00:00:01", ("10.0.0.2", "fe80::1")),
        GuestInterface("eth1"),
    )


@pytest.mark.parametrize("answer", [None, 7, "x", {}, [7], [{"name": 7}], [{"ip-addresses": "x"}]])
def test_nonsense_is_no_interface(answer: object) -> None:
    assert parse_interfaces(answer) == ()


def test_a_guest_cannot_flood_the_status() -> None:
    answer = [{"name": "e" * 100_000, "ip-addresses": [{"ip-address": "1" * 9999}] * 999}] * 999
    found = parse_interfaces(answer)
    assert len(found) <= 32
    assert all(len(interface.name) <= 200 and len(interface.addresses) <= 32 for interface in found)


async def test_an_agent_that_never_answers_leaves_no_connection_when_who_asked_is_gone(tmp_path: Path) -> None:
    ends: list[asyncio.Task[bytes]] = []
    connected = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(asyncio.create_task(reader.read()))
        connected.set()
        await ends[0]
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "agent.sock"):
        asking = asyncio.create_task(load_facts(tmp_path / "agent.sock"))
        await connected.wait()
        asking.cancel()
        await asyncio.wait([asking])
        async with asyncio.timeout(30):
            assert b"guest-sync-delimited" in await ends[0]


async def test_a_guest_that_cannot_write_its_hardware_clock_is_no_worse_for_it(tmp_path: Path) -> None:
    """The agent sets the system's clock first, and refuses when the program is missing that writes the other one."""
    asked: list[dict[str, object]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).lstrip(b"\xff"):
            asked.append(order := json.loads(line))
            if order["execute"] == "guest-sync-delimited":
                answer: dict[str, object] = {"return": order["arguments"]["id"]}
                writer.write(b"\xff")
            else:
                answer = {
                    "error": {"class": "GenericError", "desc": "hwclock failed to set hardware clock to system time"}
                }
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "agent.sock"):
        await set_clock(tmp_path / "agent.sock", 17)
    assert asked[-1] == {"execute": "guest-set-time", "arguments": {"time": 17}}

"""A machine beyond the node, in a network namespace: an echo server, and a name server that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from msgspec import Struct

from eaves.kit import process
from eaves.node.networks import lookup


class Outside(Struct):
    """A machine beyond the node: ``address`` and ``other`` echo on TCP port 7; ``dns`` is the address of a name server.

    ``names`` is the name server's file of hosts; it reads it again on SIGHUP.
    """

    address: str
    other: str
    dns: str
    names: Path
    netns: str
    server: subprocess.Popen[bytes]

    async def say(self, address: str, name: str) -> None:
        """Answer ``address`` for ``name`` from now on."""
        self.names.write_text(f"{address} {name}\n")
        self.server.send_signal(signal.SIGHUP)
        await self.wait_answer(address, name)

    async def wait_answer(self, address: str, name: str) -> None:
        async with asyncio.timeout(30):
            while await lookup.find_addresses(self.dns, name) != {address}:  # noqa: ASYNC110 - asks over the net
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def open_outside(folder: Path) -> AsyncIterator[Outside]:
    """A machine of its own beside any other; ``folder`` is for its files."""
    token = secrets.token_hex(4)
    netns = f"out{token}"
    base = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
    first = secrets.randbelow(32) * 8
    gateway, address, other = (f"{base}.{first + number}" for number in (1, 2, 3))
    await _plug(netns, token, gateway, (address, other))
    names = folder / "names"
    names.write_text(f"{address} ready.example\n")
    dns = _start_dns(netns, address, names)
    # A session of its own, since it has a child for each connection.
    echo = subprocess.Popen(  # noqa: ASYNC220 - it runs beside the test
        ["ip", "netns", "exec", netns, "busybox", "nc", "-ll", "-p", "7", "-e", "/bin/cat"], start_new_session=True
    )
    try:
        found = Outside(address, other, address, names, netns, dns)
        await found.wait_answer(address, "ready.example")
        await wait_listening(["ip", "netns", "exec", netns], 7)
        yield found
    finally:
        dns.kill()
        os.killpg(echo.pid, signal.SIGKILL)
        for started in (dns, echo):
            started.wait()
        await process.run(["ip", "netns", "del", netns], check=False)


async def wait_listening(inside: Sequence[str], *ports: int) -> None:
    """Until something listens on all these TCP ports; ``inside`` goes before a command that is to look there."""
    async with asyncio.timeout(60):
        while True:
            shown = (await process.run([*inside, "ss", "-Hltn"])).text
            if all(f":{port} " in shown for port in ports):
                return
            await asyncio.sleep(0.05)


async def _plug(netns: str, token: str, gateway: str, addresses: Sequence[str]) -> None:
    """A network stack beside ours, joined by a cable on which we are the gateway."""
    near, far = f"on{token}", f"of{token}"
    lines = (
        f"ip netns add {netns}",
        f"ip link add {near} type veth peer name {far} netns {netns}",
        f"ip addr add {gateway}/29 dev {near}",
        f"ip link set {near} up",
        *(f"ip -n {netns} addr add {address}/29 dev {far}" for address in addresses),
        f"ip -n {netns} link set {far} up",
        f"ip -n {netns} link set lo up",
        f"ip -n {netns} route add default via {gateway}",
    )
    for line in lines:
        await process.run(line.split())


def _start_dns(netns: str, address: str, names: Path) -> subprocess.Popen[bytes]:
    options = [
        "--no-daemon",
        "--no-resolv",
        "--user=root",
        f"--addn-hosts={names}",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--local-ttl=60",
        f"--listen-address={address}",
        "--bind-interfaces",
        "--pid-file",
    ]
    return subprocess.Popen(["ip", "netns", "exec", netns, "dnsmasq", *options], stderr=subprocess.DEVNULL)

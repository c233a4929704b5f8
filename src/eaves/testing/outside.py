"""A machine beyond the node, in a network namespace: an echo server, and a name server that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
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
    netns, near, far = f"out{token}", f"on{token}", f"of{token}"
    base = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
    first = secrets.randbelow(32) * 8
    gateway, address, other = (f"{base}.{first + number}" for number in (1, 2, 3))
    lines = (
        f"ip netns add {netns}",
        f"ip link add {near} type veth peer name {far} netns {netns}",
        f"ip addr add {gateway}/29 dev {near}",
        f"ip link set {near} up",
        f"ip -n {netns} addr add {address}/29 dev {far}",
        f"ip -n {netns} addr add {other}/29 dev {far}",
        f"ip -n {netns} link set {far} up",
        f"ip -n {netns} link set lo up",
        f"ip -n {netns} route add default via {gateway}",
    )
    for line in lines:
        await process.run(line.split())
    names = folder / "names"
    names.write_text(f"{address} ready.example\n")
    inside = ["ip", "netns", "exec", netns]
    options = [
        "--no-daemon",
        "--no-resolv",
        "--user=root",
        f"--addn-hosts={names}",
        "--no-hosts",
        "--conf-file=/dev/null",
    ]
    dns = subprocess.Popen(  # noqa: ASYNC220 - it runs beside the test
        [
            *inside,
            "dnsmasq",
            *options,
            "--local-ttl=60",
            f"--listen-address={address}",
            "--bind-interfaces",
            "--pid-file",
        ],
        stderr=subprocess.DEVNULL,
    )
    echo = subprocess.Popen(  # noqa: ASYNC220
        [*inside, "busybox", "nc", "-ll", "-p", "7", "-e", "/bin/cat"]
    )
    try:
        found = Outside(address, other, address, names, netns, dns)
        await found.wait_answer(address, "ready.example")
        yield found
    finally:
        for started in (dns, echo):
            started.kill()
            started.wait()
        await process.run(["ip", "netns", "del", netns], check=False)

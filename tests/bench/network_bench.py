"""TCP throughput from outside to an app by a port of the node, against a bare bridge with a bare port map, in turns.

``make bench BENCH=network_throughput`` as root. Both nodes are network stacks of their own with one cable to the outside and one app.
The peer's table has the address translation alone: no rules, no guards.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.namespaces import Namespace
from eaves.testing.network_host import NetworkHost
from tests.bench.results import Result, median_result

RUNS = 5
SECONDS = 2
PORT = 5201
SERVER = """
import socket
server = socket.create_server(("", 5201))
print("ready", flush=True)
buffer = bytearray(1 << 20)
while True:
    stream, _ = server.accept()
    with stream:
        while stream.recv_into(buffer):
            pass
"""
CLIENT = """
import socket, sys, time
data = bytes(1 << 20)
with socket.create_connection((sys.argv[1], 5201), 10) as stream:
    sent, end, began = 0, time.monotonic() + float(sys.argv[2]), time.monotonic()
    while time.monotonic() < end:
        stream.sendall(data)
        sent += len(data)
    print(sent * 8 / (time.monotonic() - began) / 1e9)
"""


@contextlib.contextmanager
def serving(inside: str) -> Iterator[None]:
    argv = ["nsenter", f"--net={inside}", sys.executable, "-c", SERVER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def measure(outside: Namespace, address: str) -> float:
    """Gigabits a second."""
    return float(outside.run(sys.executable, "-c", CLIENT, address, str(SECONDS), timeout_s=60))


def plug(node: Namespace, outside: Namespace) -> None:
    node.connect("wan0", outside, "lan")
    node.batch("addr add 10.200.0.2/24 dev wan0")
    outside.batch("addr add 10.200.0.1/24 dev lan")


def make_peer(stack: contextlib.ExitStack) -> tuple[Namespace, Namespace]:
    """(outside, app) of a node with a bridge and a port map and nothing else."""
    node, outside, app = (stack.enter_context(Namespace()) for _ in range(3))
    plug(node, outside)
    node.batch("link add br0 type bridge", "link set br0 up", "addr add 10.9.0.1/24 dev br0")
    node.connect("app0", app, "eth0")
    node.batch("link set app0 master br0")
    app.batch("addr add 10.9.0.2/24 dev eth0", "route add default via 10.9.0.1")
    node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    node.run(
        "nft",
        "table ip bare { chain in { type nat hook prerouting priority dstnat; "
        f"tcp dport {PORT} dnat to 10.9.0.2; }}; chain out {{ type nat hook postrouting priority srcnat; "
        "oifname wan0 masquerade; }; }",
    )
    return outside, app


async def measure_both() -> tuple[list[float], list[float]]:
    ours: list[float] = []
    bare: list[float] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer_outside, peer_app = make_peer(stack)
        outside = stack.enter_context(Namespace())
        async with NetworkHost(folder) as host:
            plug(host.namespace, outside)
            network = host.network(number=9)
            host.apply(networks=(network,), apps=(host.app("app", network, acls=(map_port(PORT, PORT), ALLOW_ALL)),))
            inside = (await host.connection("app")).netns
            with serving(inside), serving(peer_app.path):
                for _ in range(RUNS):
                    ours.append(await asyncio.to_thread(measure, outside, "10.200.0.2"))
                    bare.append(await asyncio.to_thread(measure, peer_outside, "10.200.0.2"))
    return ours, bare


def network_throughput() -> Sequence[Result]:
    ours, bare = asyncio.run(measure_both())
    return [
        median_result(
            "network_throughput",
            "Gbit/s",
            "higher",
            ours,
            peer="bare bridge and port map",
            peer_runs=bare,
            note="one TCP connection from outside to an app by a port of the node",
        )
    ]


BENCHMARKS = {"network_throughput": network_throughput}

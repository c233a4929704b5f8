"""What rules and flow logs need of a stock kernel, whose connection tracking, packet logs and bridge filters are modules."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.kit import process
from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.flows import packets
from eaves.node.flows.model import FlowRecord
from eaves.node.networks import conntrack, ruleset, switch_counts, switch_rules
from eaves.node.networks.model import Layout, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.netlink import NETLINK_NETFILTER, split_messages
from eaves.testing.flow_host import ADDRESSES, FlowHost
from eaves.testing.namespaces import Namespace

TABLE, GROUP, LINK = "evguest", 0x4242, "evguest0"
LIMIT_S = 180
"""A guest without hardware virtualisation takes its time."""
RULES = (
    AclRule(1, "", AclDirection.EGRESS, AclAction.DROP, host="example.org"),
    AclRule(2, "", AclDirection.BOTH, AclAction.LIMIT, protocol="icmp", limit_rate=5),
    AclRule(3, "", AclDirection.EGRESS, AclAction.ALLOW, subnet="fd00::/8"),
)
VIF = WantedVif("a", "n", "eth0", LINK, "n", "evbr0", "10.9.0.2", 24, "10.9.0.1", "02:00:00:00:00:01", 1500, RULES)
BRIDGE = WantedBridge("n", "evbr0", "10.9.0.1/24", "10.9.0.0/24", 1500, False, flow_log=True, metadata_port=9)


@pytest.fixture(scope="module", autouse=True)
def modules() -> None:
    names = ["bridge", "veth", "8021q", "nf_tables", "nft_meta_bridge", "nfnetlink_log"]
    subprocess.run(["modprobe", "--all", "--quiet", *names], check=False)


@pytest.fixture
def tables() -> Iterator[None]:
    subprocess.run(["ip", "link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}p"], check=True)
    yield
    for family in ("inet", "bridge"):
        subprocess.run(["nft", "delete", "table", family, TABLE], check=False)
    subprocess.run(["ip", "link", "delete", LINK], check=True)


@pytest.mark.usefixtures("tables")
async def test_the_stock_kernel_takes_the_tables_and_tells_of_connections() -> None:
    layout = Layout((BRIDGE,), (WantedNetns("a", "a", ("a",), (VIF,)),))
    rules = tuple(rule for rule in RULES if not rule.host)
    switched = WantedVif("b", "n", "eth0", LINK, "n", "evbr0", "", 0, "", VIF.mac, 1500, rules)
    switched = replace(switched, is_switched=True, flow_log=True)
    for text in (
        ruleset.render_ruleset(layout, TABLE, log_group=GROUP),
        switch_rules.render_switch_ruleset((switched,), TABLE, log_group=GROUP),
    ):
        await process.run(["nft", "-f", "-"], stdin=text.encode(), timeout_s=120)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as log:
        for message in packets.render_bindings(GROUP):
            log.send(message)
            ((_, answer),) = split_messages(log.recv(1 << 16))
            assert answer[:4] == bytes(4), "the kernel accepts a listener of the group"
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    found = [
        entry
        for entry in await asyncio.to_thread(conntrack.list_entries, frozenset({"127.0.0.1"}))
        if entry.original.destination_port == port
    ]
    assert len(found) == 1
    assert await asyncio.to_thread(conntrack.end_entries, found) == 1
    writer.close()
    server.close()


@pytest.mark.soak
async def test_connections_on_vlans_of_a_switch_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_counts, "SILENCE_S", 30)
    host = FlowHost(tmp_path)
    async with host, host.logging():
        network = host.switch(flow_log=True)
        ten = host.app("ten", network)
        ten = replace(ten, interfaces=(replace(ten.interfaces[0], vlan=10),))
        host.apply(networks=(network,), apps=(ten, host.app("trunk", network)))
        inside = Namespace.at((await host.connection("trunk", limit_s=LIMIT_S)).netns)
        inside.batch("link add link eth0 name tagged type vlan id 10")
        await host.exec("trunk", "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/tagged/disable_ipv6")
        inside.batch("link set tagged up")
        pairs = tuple(zip(ADDRESSES["a"], ADDRESSES["b"], strict=True))
        for family, (near, far) in enumerate(pairs):
            length = (24, 64)[family]
            await host.exec("ten", "ip", "addr", "add", f"{far}/{length}", "dev", "eth0", *("nodad",) * family)
            inside.batch(f"addr add {near}/{length} dev tagged{' nodad' * family}")
            code, shown = await host.exec("trunk", "busybox", "ping", "-c", "3", "-W", "30", far, timeout_s=LIMIT_S)
            assert code == 0, shown
        inside.close()

        def list_pings(name: str, far: str) -> list[FlowRecord]:
            return [
                record for each in (1, 58) for record in host.list_ended(name, each, 0) if record.far_address == far
            ]

        wanted = [("trunk", far) for _, far in pairs] + [("ten", near) for near, _ in pairs]
        await host.wait(lambda: all(list_pings(name, far) for name, far in wanted))
        for near, far in pairs:
            (sent,), (got,) = list_pings("trunk", far), list_pings("ten", near)
            assert (sent.sent_packets, sent.received_packets, sent.is_inbound) == (3, 3, False)
            assert (got.received_packets, got.received_bytes, got.is_inbound) == (3, sent.sent_bytes, True)

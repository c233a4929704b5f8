"""Flow logs of real connections: who, by which rule, how much, what was dropped, which names were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.flows.model import DnsRecord, FlowRecord
from eaves.node.manager import EngineOptions
from eaves.node.networks import conntrack
from eaves.testing.engine_host import EngineHost
from eaves.testing.outside import Outside
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

OUT = AclDirection.EGRESS


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    options = EngineOptions(first_retry_s=0.5, measure_every_s=1.0, flow_round_s=0.3)
    async with EngineHost(tmp_path, options) as found:
        yield found


class Reader:
    """Collects what the engine posts, as the uploader would."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self.flows: list[tuple[str, FlowRecord]] = []
        self.dns: list[tuple[str, DnsRecord]] = []

    async def wait(self, accept: Callable[[Reader], bool]) -> None:
        try:
            async with asyncio.timeout(40):
                while not accept(self):
                    batch = await self._host.observations.take_flows()
                    self.flows += [(batch.scope.app_id, record) for record in batch.flows]
                    self.dns += [(batch.scope.app_id, record) for record in batch.dns]
        except TimeoutError:
            raise AssertionError(f"not seen: {self.flows} {self.dns}") from None


async def say(host: EngineHost, app: str, server: str, port: int, text: str = "hello") -> bool:
    talk = f"exec 3<>/dev/tcp/{server}/{port} && echo {text} >&3 && read -t 3 -u 3 a && echo got $a"
    _, output = await host.exec(app, "timeout", "3", "bash", "-c", talk)
    return f"got {text}" in output


async def test_connections_drops_and_names_are_logged_with_the_rule_that_decided(
    host: EngineHost, registry: Registry, outside: Outside
) -> None:
    await outside.say(outside.address, "target.example")
    image = host.image(registry.datastore(), "shop/shell:1")
    network = host.network(flow_log=True, dns_servers=(outside.dns,))
    rules = (
        AclRule(11, "no-web", OUT, AclAction.DROP, protocol="tcp", remote_port="80"),
        AclRule(12, "target", OUT, AclAction.ALLOW, host="target.example", protocol="tcp"),
    )
    await host.apply(images=(image,), networks=(network,), apps=(host.app("shell", image, network, acls=rules),))
    await host.wait_app("shell")
    assert await say(host, "shell", "target.example", 7, "x" * 1000)
    assert not await say(host, "shell", outside.address, 80)
    assert not await say(host, "shell", outside.other, 7)
    # The kernel keeps closed connections for minutes.
    await asyncio.to_thread(lambda: conntrack.end_entries(conntrack.list_entries(frozenset({outside.address}))))

    reader = Reader(host)
    await reader.wait(
        lambda seen: (
            {11, 12, 0} <= {flow.rule_id for _, flow in seen.flows}
            and any(flow.ended_at and flow.is_allowed for _, flow in seen.flows)
            and bool(seen.dns)
        )
    )
    assert {app_id for app_id, _ in reader.flows + reader.dns} == {"app-shell"}
    allowed = next(flow for _, flow in reversed(reader.flows) if flow.rule_id == 12 and flow.ended_at)
    assert (allowed.far_address, allowed.far_port, allowed.protocol, allowed.is_inbound) == (
        outside.address,
        7,
        6,
        False,
    )
    assert allowed.rule_name == "target"
    assert allowed.sent_bytes > 1000 < allowed.received_bytes
    assert allowed.started_at <= allowed.ended_at
    dropped = next(flow for _, flow in reader.flows if flow.rule_id == 11)
    assert (dropped.far_port, dropped.is_allowed, dropped.rule_name) == (80, False, "no-web")
    assert dropped.sent_packets > 0
    default = next(flow for _, flow in reader.flows if flow.rule_id == 0)
    assert (default.far_address, default.far_port, default.is_allowed) == (outside.other, 7, False)
    asked = next(record for _, record in reader.dns if record.name == "target.example")
    assert outside.address in asked.addresses


async def test_only_networks_that_ask_for_it_are_logged(host: EngineHost, registry: Registry, outside: Outside) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    quiet, logged = host.network("quiet"), host.network("logged", flow_log=True)
    apps = (host.app("quiet", image, quiet), host.app("logged", image, logged))
    await host.apply(images=(image,), networks=(quiet, logged), apps=apps)
    for name in ("quiet", "logged"):
        await host.wait_app(name)
        assert await say(host, name, outside.address, 7)
    reader = Reader(host)
    await reader.wait(lambda seen: any(flow.far_address == outside.address for _, flow in seen.flows))
    assert {app_id for app_id, _ in reader.flows} == {"app-logged"}

"""Flow logs of networks of kind Switch, for both families: who opened, by which rule, how much each way, what was dropped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.flows import switched, tracker
from eaves.node.flows.model import FlowRecord
from eaves.node.networks import observe, switch_counts
from eaves.testing.flow_host import ADDRESSES, FlowHost
from eaves.testing.outside import wait_listening

pytestmark = pytest.mark.contract

OUT, IN = AclDirection.EGRESS, AclDirection.INGRESS
ALLOW, DROP = AclAction.ALLOW, AclAction.DROP
FAMILIES = (0, 1)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[FlowHost]:
    found = FlowHost(tmp_path)
    async with found, found.logging():
        yield found


@contextlib.asynccontextmanager
async def echoes(host: FlowHost, *names: str) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            inside = ["nsenter", f"--net={(await host.connection(name)).netns}"]
            for port in ("80", "81"):
                echo = await asyncio.create_subprocess_exec(
                    *inside, "busybox", "nc", "-ll", "-p", port, "-e", "/bin/cat"
                )
                stack.push_async_callback(echo.wait)
                stack.callback(echo.kill)
            await wait_listening(inside, 80, 81)
        yield


async def test_connections_and_drops_are_logged_with_direction_rule_and_counters(
    host: FlowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_counts, "SILENCE_S", 20)
    await host.join(
        host.switch(flow_log=True),
        a=(AclRule(11, "no-admin", OUT, DROP, protocol="tcp", remote_port="81"), AclRule(12, "web", OUT, ALLOW)),
        b=(AclRule(21, "serve", IN, ALLOW, protocol="tcp"), AclRule(22, "out", OUT, ALLOW)),
    )
    async with echoes(host, "a", "b"):
        for family in FAMILIES:
            near, far = ADDRESSES["a"][family], ADDRESSES["b"][family]
            assert await host.say("a", far, 80, "x" * 1000)
            assert not await host.say("a", far, 81, limit_s=2)
            assert not await host.say("b", near, 80, limit_s=2)

    def is_ended(records: list[FlowRecord], address: str, rule_id: int) -> bool:
        return any(r.ended_at and (r.address, r.rule_id) == (address, rule_id) for r in records)

    await host.wait(
        lambda: all(
            is_ended(host.seen.get(name, []), ADDRESSES[name][family], rule)
            for family in FAMILIES
            for name, rule in (("a", 11), ("a", 12), ("a", 0), ("b", 21), ("b", 22))
        )
    )
    for family in FAMILIES:
        near, far = ADDRESSES["a"][family], ADDRESSES["b"][family]
        out = next(r for r in host.seen["a"] if (r.address, r.rule_id) == (near, 12) and r.ended_at)
        assert (out.far_address, out.far_port, out.protocol, out.is_inbound, out.is_allowed) == (
            far,
            80,
            6,
            False,
            True,
        )
        assert out.rule_name == "web"
        assert out.started_at <= out.ended_at
        assert out.sent_bytes > 1000 < out.received_bytes
        into = next(r for r in host.seen["b"] if (r.address, r.rule_id) == (far, 21) and r.ended_at)
        assert (into.far_address, into.port, into.far_port, into.is_inbound) == (near, 80, out.port, True)
        assert (into.received_bytes, into.received_packets) == (out.sent_bytes, out.sent_packets)
        assert (into.sent_bytes, into.sent_packets) == (out.received_bytes, out.received_packets)
        dropped = next(r for r in host.seen["a"] if (r.address, r.rule_id) == (near, 11))
        assert (dropped.far_port, dropped.is_inbound, dropped.is_allowed, dropped.rule_name) == (
            81,
            False,
            False,
            "no-admin",
        )
        assert dropped.sent_packets > 0
        uncalled = next(r for r in host.seen["a"] if (r.address, r.rule_id, r.port) == (near, 0, 80))
        assert (uncalled.far_address, uncalled.is_inbound, uncalled.is_allowed) == (far, True, False)
        unanswered = next(r for r in host.seen["b"] if (r.address, r.rule_id) == (far, 22) and r.ended_at)
        assert (unanswered.is_inbound, unanswered.far_port, unanswered.received_packets) == (False, 80, 0)


async def test_pings_names_and_frames_to_many_are_counted_once(host: FlowHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_counts, "SILENCE_S", 10)
    everything = (AclRule(1, "all", AclDirection.BOTH, ALLOW),)
    await host.join(host.switch(flow_log=True), a=everything, b=everything, c=everything)
    server = ADDRESSES["b"][0]
    async with names(host, "b"):
        code, shown = await host.exec("a", "busybox", "ping", "-c", "4", "-i", "0.2", server)
        assert code == 0, shown
        code, shown = await host.exec("a", "busybox", "nslookup", "shop.example", server)
        assert code == 0, shown
    await host.exec("a", "ip", "route", "add", "239.0.0.0/8", "dev", "eth0")
    many = "exec 3<>/dev/udp/239.9.9.9/5000 && for each in 1 2 3; do echo $each >&3; done"
    assert (await host.exec("a", "bash", "-c", many))[0] == 0

    pings, to_many, asked = (1, 0), (17, 5000), (17, 53)

    def count(which: tuple[int, int]) -> tuple[int, int]:
        ended = host.list_ended("a", *which)
        return sum(record.sent_packets for record in ended), sum(record.received_packets for record in ended)

    await host.wait(lambda: all(sum(count(which)) >= least for which, least in ((pings, 8), (to_many, 3), (asked, 4))))
    assert count(pings) == (4, 4)
    assert count(to_many) == (3, 0), "they left by two ports"
    assert {record.is_inbound for record in host.list_ended("a", *pings)} == {False}
    sent, received = count(asked)
    assert sent == received
    told = {address for record in host.dns if record.name == "shop.example" for address in record.addresses}
    assert told == {"192.0.2.7", "2001:db8::7"}


@contextlib.asynccontextmanager
async def names(host: FlowHost, name: str) -> AsyncIterator[None]:
    """A name server in an app, which knows shop.example."""
    inside = ["nsenter", f"--net={(await host.connection(name)).netns}"]
    known = [f"--address=/shop.example/{address}" for address in ("192.0.2.7", "2001:db8::7")]
    files = ["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]
    server = await asyncio.create_subprocess_exec(
        *inside, "dnsmasq", "--keep-in-foreground", "--user=root", *files, *known
    )
    try:
        await wait_listening(inside, 53)
        yield
    finally:
        server.kill()
        await server.wait()


async def test_switching_the_log_on_and_off_cuts_no_connection(host: FlowHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "OPEN_EVERY_S", 0.0)
    everything = (AclRule(1, "all", AclDirection.BOTH, ALLOW),)
    await host.join(host.switch(flow_log=False), a=everything, b=everything)
    async with echoes(host, "b"):
        far = ADDRESSES["b"][0]
        talk = f"exec 3<>/dev/tcp/{far}/80; while read line; do echo $line >&3; read -u 3 a; echo got $a; done"
        inside = ["nsenter", f"--net={(await host.connection('a')).netns}"]
        stream = await asyncio.create_subprocess_exec(
            *inside, "bash", "-c", talk, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            await say_on(stream)
            assert "sent4_" not in await host.shown(), "who does not ask is not counted"
            for is_on in (True, False, True):
                host.apply(networks=(host.switch(flow_log=is_on),))
                await host.wait_shown(lambda text, on=is_on: ("sent4_" in text) is on)  # type: ignore[misc]
                await say_on(stream)
            await host.wait(lambda: any(r.far_port == 80 and r.received_packets for r in host.seen.get("a", [])))
        finally:
            stream.kill()
            await stream.wait()


async def say_on(stream: asyncio.subprocess.Process) -> None:
    assert stream.stdin is not None
    assert stream.stdout is not None
    stream.stdin.write(b"hello\n")
    async with asyncio.timeout(60):
        assert await stream.stdout.readline() == b"got hello\n"


async def test_a_log_without_room_cuts_nothing(host: FlowHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_counts, "SIZE", 16)
    everything = (AclRule(1, "all", AclDirection.BOTH, ALLOW),)
    await host.join(host.switch(flow_log=True), a=everything, b=everything)
    far = ADDRESSES["b"][0]
    flood = f"for port in {{1000..1063}}; do echo x > /dev/udp/{far}/$port; done; true"
    assert (await host.exec("a", "bash", "-c", flood))[0] == 0
    assert host.networks is not None
    link = next(name.removeprefix("sent4_") for name in observe.parse_table(await host.shown())[2] if "sent4_" in name)
    async with echoes(host, "b"):
        assert await host.say("a", far, 80), "what is not counted passes all the same"
    sizes = await asyncio.to_thread(host.sizes, link)
    assert sizes[f"sent4_{link}"] == switch_counts.SIZE == max(sizes.values())
    _, is_full = await asyncio.to_thread(switched.load_counted, host.instance.table, link)
    assert is_full

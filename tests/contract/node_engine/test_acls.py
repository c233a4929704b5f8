"""Access rules on the real kernel: edits with open streams, host names that DNS answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.outside import Outside
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

OUT = AclDirection.EGRESS
ECHO = {"command": ("/bin/nc",), "args": ("-ll", "-p", "80", "-e", "/bin/cat")}


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_s: float = 10.0) -> bool:
    token = secrets.token_hex(4).encode() + b"\n"
    try:
        writer.write(token)
        async with asyncio.timeout(limit_s):
            return await reader.readline() == token
    except (OSError, TimeoutError):
        return False


async def test_an_edit_ends_what_it_forbids_and_no_stream_of_another_app(host: EngineHost, registry: Registry) -> None:
    ports = [find_port() for _ in range(3)]
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    edited = host.app("edited", image, network, acls=(map_port(ports[0]), map_port(ports[1], number=2)), **ECHO)
    neighbour = host.app("neighbour", image, network, acls=(map_port(ports[2], number=3),), **ECHO)
    await host.apply(images=(image,), networks=(network,), apps=(edited, neighbour))
    await host.wait_app("edited")
    await host.wait_app("neighbour")
    streams = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
    assert [await echoes(*stream) for stream in streams] == [True, True, True]

    edited = host.app("edited", image, network, acls=(map_port(ports[1], number=2),), **ECHO)
    await host.apply(apps=(edited, neighbour))
    async with asyncio.timeout(30):
        while await echoes(*streams[0], limit_s=1.0):  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.1)
    assert await echoes(*streams[1]), "a stream of the same app that the rules still allow"
    assert await echoes(*streams[2]), "a stream of another app"
    for _, writer in streams:
        writer.close()


async def test_a_rate_is_kept_and_its_burst_granted(host: EngineHost, registry: Registry, outside: Outside) -> None:
    """Five at once and six a minute from then on; who has no limit on the same network feels nothing of it."""
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    limit = AclRule(1, "", OUT, AclAction.LIMIT, protocol="icmp", limit_rate=6, limit_unit="m", limit_burst=5)
    apps = (host.app("slow", image, network, acls=(limit, ALLOW_ALL)), host.app("fast", image, network))
    await host.apply(images=(image,), networks=(network,), apps=apps)
    counts = {}
    for app in apps:
        await host.wait_app(app.name)
        counts[app.name] = sum([await pings(host, app.id, outside.address) for _ in range(10)])
    assert counts["fast"] == 10
    assert 5 <= counts["slow"] <= 8, counts


async def pings(host: EngineHost, app_id: str, address: str) -> bool:
    """From the app's own network stack; its image has no such program."""
    assert host.manager is not None
    inside = ["nsenter", f"--target={host.manager._pid_of(app_id)}", "--net"]
    done = await process.run([*inside, "busybox", "ping", "-c", "1", "-W", "1", address], check=False)
    return done.returncode == 0


async def test_a_forbidden_stream_ends_though_the_daemon_died_between(
    host: EngineHost, registry: Registry, outside: Outside
) -> None:
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    allowed = AclRule(1, "out", OUT, AclAction.ALLOW, subnet=f"{outside.address}/32")
    await host.apply(images=(image,), networks=(network,), apps=(host.app("shell", image, network, acls=(allowed,)),))
    await host.wait_app("shell")
    talk = f"exec 3<>/dev/tcp/{outside.address}/7; while :; do echo x >&3; read -t 2 -u 3 a || break; sleep 0.1; done; echo cut"
    stream = asyncio.create_task(host.exec("shell", "bash", "-c", talk))
    await wait_connection(outside.address)
    await host.stop()
    await host.start()
    await host.apply(apps=(host.app("shell", image, network, acls=()),))
    async with asyncio.timeout(30):
        _, output = await stream
    assert "cut" in output


async def test_a_host_name_rule_follows_the_answers_of_dns(
    host: EngineHost, registry: Registry, outside: Outside
) -> None:
    await outside.say(outside.address, "target.example")
    image = host.image(registry.datastore(), "shop/shell:1")
    network = host.network(dns_servers=(outside.dns,))
    rule = AclRule(1, "target", OUT, AclAction.ALLOW, host="Target.example", protocol="tcp", remote_port="7")
    dns_rule = AclRule(2, "dns", OUT, AclAction.ALLOW, subnet=f"{outside.dns}/32", protocol="udp")
    app = host.app("shell", image, network, acls=(rule, dns_rule))
    await host.apply(images=(image,), networks=(network,), apps=(app,))
    await host.wait_app("shell")
    assert await reaches(host, "target.example"), "the first packet after the look-up passes"
    assert not await reaches(host, outside.other), "an address that no name stands for"

    await outside.say(outside.other, "target.example")
    await process.run(["pkill", "-HUP", "-F", str(next(host.instance.dns_dir.glob("*/pid")))])
    assert await reaches(host, "target.example"), "the name moved"
    assert await reaches(host, outside.other)


async def test_a_host_name_rule_knows_apps_and_static_entries(
    host: EngineHost, registry: Registry, outside: Outside
) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    network = host.network(static_hosts={"printer.example": (outside.address,)}, domain="site.example")
    rules = tuple(
        AclRule(number, "", OUT, AclAction.ALLOW, host=name)
        for number, name in enumerate(("printer.example", "peer.site.example"), 1)
    )
    peer = host.app(
        "peer", image, network, acls=(ALLOW_ALL,), command=("/bin/nc",), args=("-ll", "-p", "7", "-e", "/bin/cat")
    )
    await host.apply(images=(image,), networks=(network,), apps=(host.app("shell", image, network, acls=rules), peer))
    await host.wait_app("shell")
    await host.wait_app("peer")
    assert await reaches(host, "printer.example")
    assert await reaches(host, "peer.site.example")
    assert not await reaches(host, outside.other)


async def reaches(host: EngineHost, server: str) -> bool:
    talk = f"exec 3<>/dev/tcp/{server}/7 && echo hello >&3 && read -t 3 -u 3 a && echo got $a"
    _, output = await host.exec("shell", "timeout", "5", "bash", "-c", talk)
    return "got hello" in output


async def wait_connection(address: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(FileNotFoundError):
                table = await asyncio.to_thread(Path("/proc/net/nf_conntrack").read_text)
                if f"dst={address} " in table and "ESTABLISHED" in table:
                    return
            await asyncio.sleep(0.1)

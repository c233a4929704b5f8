"""The firewall of apps on switches on a real bridge, for IPv4 and IPv6: a namespace is the host, others are apps and machines."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import AsyncIterator

import pytest
from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import process
from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks import switch_recheck
from eaves.node.networks.model import WantedVif
from eaves.node.networks.switch_rules import render_switch_ruleset
from eaves.testing.outside import wait_listening

pytestmark = pytest.mark.contract

ALLOW, DROP = AclAction.ALLOW, AclAction.DROP
OUT, IN = AclDirection.EGRESS, AclDirection.INGRESS
TABLE = "eaves"
ADDRESSES = {"app": ("10.7.0.2", "fd07::2"), "peer": ("10.7.0.3", "fd07::3"), "far": ("10.7.0.9", "fd07::9")}
BOTH_FAMILIES = (0, 1)
PORTS = (80, 81)
REACH_LIMIT_S, KEPT_LIMIT_S = 60, 2


class Lan(Struct):
    """A bridge in a namespace; ``app`` and ``peer`` have rules, ``far`` is a machine beyond. Each echoes on TCP ports 80 and 81."""

    token: str
    vifs: dict[str, WantedVif]

    def inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", f"{name}{self.token}"]

    async def apply(self, **rules: tuple[AclRule, ...]) -> None:
        """Replace the rules of apps."""
        former = tuple(self.vifs.values())
        for name, acls in rules.items():
            self.vifs[name] = replace(self.vifs[name], acls=acls)
        text = render_switch_ruleset(tuple(self.vifs.values()), TABLE, await self.chains(), (), former)
        await process.run([*self.inside("host"), "nft", "-f", "-"], stdin=text.encode())

    async def chains(self) -> list[str]:
        argv = [*self.inside("host"), "nft", "list", "chains", "bridge"]
        shown = await process.run(argv, check=False)
        return [line.split()[1] for line in shown.text.splitlines() if line.startswith("\tchain ")]

    async def reaches(
        self, source: str, target: str, family: int, port: int = 80, *, limit_s: int = REACH_LIMIT_S
    ) -> bool:
        talk = f"exec 3<>/dev/tcp/{ADDRESSES[target][family]}/{port} && echo hello >&3 && read -u 3 a && echo got $a"
        argv = [*self.inside(source), "timeout", str(limit_s), "bash", "-c", talk]
        return b"got hello" in (await process.run(argv, check=False)).stdout

    async def is_kept_from(self, source: str, target: str, family: int, port: int = 80) -> bool:
        return not await self.reaches(source, target, family, port, limit_s=KEPT_LIMIT_S)

    async def pings(self, source: str, target: str, family: int) -> bool:
        argv = [*self.inside(source), "busybox", "ping", "-c", "1", "-W", "2", ADDRESSES[target][family]]
        return (await process.run(argv, check=False)).returncode == 0


@pytest.fixture
async def lan() -> AsyncIterator[Lan]:
    token = secrets.token_hex(3)
    found = Lan(token, {})
    async with contextlib.AsyncExitStack() as stack:
        for name in ("host", *ADDRESSES):
            await process.run(["ip", "netns", "add", f"{name}{token}"])
            stack.push_async_callback(process.run, ["ip", "netns", "del", f"{name}{token}"], check=False)
        run = found.inside("host")
        for line in ("link add br0 type bridge forward_delay 0", "link set br0 up"):
            await process.run([*run, "ip", *line.split()])
        for number, (name, (four, six)) in enumerate(ADDRESSES.items(), 1):
            link, mac = f"evv{name}", f"02:00:00:00:00:0{number}"
            pair = f"link add {link} type veth peer name eth0 address {mac} netns {name}{token}"
            for line in (pair, f"link set {link} master br0", f"link set {link} up"):
                await process.run([*run, "ip", *line.split()])
            for line in (f"addr add {four}/24 dev eth0", f"addr add {six}/64 dev eth0 nodad", "link set eth0 up"):
                await process.run([*found.inside(name), "ip", *line.split()])
            for port in PORTS:
                echo = await asyncio.create_subprocess_exec(
                    *found.inside(name), "busybox", "nc", "-ll", "-p", str(port), "-e", "/bin/cat"
                )
                stack.push_async_callback(_stop, echo)
            await wait_listening(found.inside(name), *PORTS)
            if name != "far":
                found.vifs[name] = WantedVif(name, "n", "eth0", link, "n", "br0", "", 0, "", mac, 1500)
        yield found


async def _stop(echo: asyncio.subprocess.Process) -> None:
    echo.kill()
    await echo.wait()


@pytest.mark.parametrize("family", BOTH_FAMILIES)
async def test_nothing_passes_that_no_rule_allows_and_answers_do(lan: Lan, family: int) -> None:
    far = f"{ADDRESSES['far'][family]}"
    await lan.apply(app=(AclRule(1, "", OUT, ALLOW, subnet=far, protocol="tcp", remote_port="80"),))
    assert await lan.reaches("app", "far", family)
    assert await lan.is_kept_from("app", "far", family, 81)
    assert await lan.is_kept_from("far", "app", family)
    assert not await lan.pings("app", "far", family)
    assert await lan.is_kept_from("app", "far", 1 - family), "the other family has no rule"
    await lan.apply(
        app=(AclRule(1, "", IN, ALLOW, protocol="tcp", local_port="81"), AclRule(2, "", OUT, ALLOW, protocol="icmp"))
    )
    assert await lan.reaches("far", "app", family, 81)
    assert await lan.is_kept_from("far", "app", family)
    assert await lan.pings("app", "far", family)
    assert not await lan.pings("far", "app", family)


@pytest.mark.parametrize("family", BOTH_FAMILIES)
async def test_rules_of_both_apps_count_between_them_and_the_first_match_decides(lan: Lan, family: int) -> None:
    peer = ADDRESSES["peer"][family]
    everything = (AclRule(1, "", OUT, ALLOW), AclRule(2, "", IN, ALLOW))
    await lan.apply(app=everything, peer=())
    assert await lan.is_kept_from("app", "peer", family)
    await lan.apply(peer=(AclRule(3, "", IN, ALLOW),))
    assert await lan.reaches("app", "peer", family)
    await lan.apply(app=(AclRule(4, "", OUT, DROP, subnet=peer), *everything))
    assert await lan.is_kept_from("app", "peer", family)
    assert await lan.reaches("app", "far", family)


@pytest.mark.parametrize("family", BOTH_FAMILIES)
async def test_a_rate_is_kept_and_its_burst_granted(lan: Lan, family: int) -> None:
    limit = AclRule(1, "", OUT, AclAction.LIMIT, protocol="icmp", limit_rate=6, limit_unit="m", limit_burst=5)
    everything = AclRule(2, "", AclDirection.BOTH, ALLOW)
    await lan.apply(app=(limit, everything), peer=(everything,))
    got = [await lan.pings("app", "far", family) for _ in range(10)]
    assert all(got[:3]), "within the burst, of which looking for the neighbour may take a part"
    assert 3 <= sum(got) <= 8, got
    assert all([await lan.pings("peer", "far", family) for _ in range(10)])


async def test_a_foreign_hardware_address_and_a_false_router_are_stopped(lan: Lan) -> None:
    await lan.apply(app=(AclRule(1, "", AclDirection.BOTH, ALLOW),))
    assert await lan.reaches("app", "far", 0)
    listed = await process.run([*lan.inside("host"), "nft", "list", "chain", "bridge", TABLE, "from_evvapp"])
    assert (
        "icmpv6 type { nd-redirect, nd-router-advert } drop" in listed.text
        or "nd-router-advert, nd-redirect" in listed.text
    )
    await process.run([*lan.inside("app"), "ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"])
    assert await lan.is_kept_from("app", "far", 0)
    learnt = await process.run([*lan.inside("host"), "bridge", "fdb", "show"])
    assert "02:00:00:00:00:77" not in learnt.text, (
        "what the bridge learns, it sends there, whoever the address belongs to"
    )


async def test_an_edit_keeps_what_is_open_of_others(lan: Lan) -> None:
    allowed = AclRule(1, "", AclDirection.BOTH, ALLOW)
    await lan.apply(app=(allowed,), peer=(allowed,))
    talk = (
        f"exec 3<>/dev/tcp/{ADDRESSES['far'][0]}/80; while read line; do echo $line >&3; read -u 3 a; echo got $a; done"
    )
    stream = await asyncio.create_subprocess_exec(
        *lan.inside("peer"), "bash", "-c", talk, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert stream.stdin is not None
    assert stream.stdout is not None
    try:
        for number in range(3):
            stream.stdin.write(b"hello\n")
            async with asyncio.timeout(60):
                assert await stream.stdout.readline() == b"got hello\n"
            await lan.apply(app=() if number % 2 else (allowed, AclRule(2 + number, "", OUT, DROP)))
    finally:
        stream.kill()
        await stream.wait()


@pytest.mark.parametrize("family", BOTH_FAMILIES)
async def test_an_edit_ends_what_it_forbids_of_the_same_app(lan: Lan, family: int) -> None:
    far = ADDRESSES["far"][family]
    web = AclRule(1, "", OUT, ALLOW, subnet=far, protocol="tcp", remote_port="80")
    other = AclRule(2, "", OUT, ALLOW, subnet=far, protocol="tcp", remote_port="81")
    await lan.apply(app=(web, other))
    assert await lan.reaches("app", "far", family)
    assert await lan.reaches("app", "far", family, 81)
    await lan.apply(app=(other,))
    listed = await process.run(
        [*lan.inside("host"), "nft", "-j", "-n", "list", "set", "bridge", TABLE, f"flows{4 + 2 * family}_evvapp"]
    )
    elements = switch_recheck.parse_elements(listed.stdout)
    assert {element[4] for element in elements} == {80, 81}
    forbidden = switch_recheck.list_forbidden(lan.vifs["app"], elements)
    assert [element[1:3] + element[4:] for element in forbidden] == [(far, forbidden[0][2], 80)]
    path = f"/run/netns/host{lan.token}"
    argv = [sys.executable, "-c", RECHECK.format(far=far, table=TABLE)]
    assert (await process.run(["nsenter", f"--net={path}", *argv])).text.strip() == "1"


RECHECK = """
import asyncio
from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks import switch_recheck
from eaves.node.networks.model import WantedVif
rule = AclRule(2, "", AclDirection.EGRESS, AclAction.ALLOW, subnet="{far}", protocol="tcp", remote_port="81")
vif = WantedVif("app", "n", "eth0", "evvapp", "n", "br0", "", 0, "", "02::", 1500, (rule,))
print(asyncio.run(switch_recheck.end_forbidden([vif], "{table}")))
"""


async def test_no_rule_asks_for_the_type_of_a_frame_which_is_that_of_its_vlan() -> None:
    rules = tuple(
        AclRule(number, "", direction, ALLOW, subnet=subnet, protocol=protocol)
        for number, (direction, subnet, protocol) in enumerate(
            (direction, subnet, protocol)
            for direction in (OUT, IN)
            for subnet in ("", "10.7.0.0/16", "0.0.0.0/0", "fd07::/16", "::/0")
            for protocol in ("", "tcp", "udp", "icmp", "sctp", "47")
        )
    )
    vif = WantedVif("a", "n", "eth0", "evva", "n", "br0", "", 0, "", "02:00:00:00:00:01", 1500, rules)
    text = render_switch_ruleset((replace(vif, is_switched=True, flow_log=True),), TABLE, log_group=9)
    shown = await process.run(["nft", "--check", "--debug=netlink", "-f", "-"], stdin=text.encode())
    assert "payload load 1b @ transport header" in shown.text
    assert "link header + 12" not in shown.text

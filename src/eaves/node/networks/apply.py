"""Carries out the steps of ``plan`` with iproute2, util-linux and nft.

Programs instead of a netlink library: a batch of iproute2 costs 3 ms, a library costs megabytes for good. Everything here may be
repeated after a crash at any point: an interface gets its mark (the alias) last, so a half-made one is made anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from eaves.kit import files, process
from eaves.node.instance import Instance, is_bridge_name
from eaves.node.networks import addressing, observe, plan, ruleset, switches, tuntap
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.iproute import first_line, remove_link, run_batch
from eaves.node.networks.model import Layout, Route, Rule, SeenHost, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.routing import MARK_MASK, ROUTE_PROTOCOL

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_ACCOUNTING = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
_NO_IPV6 = (
    "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do [ ! -e $f ] || echo 1 > $f; done; exec ip link set lo up"
)

PidOf = Callable[[str], int]
"""App id → pid of its running container, 0 = none."""


async def apply_step(step: plan.Step, instance: Instance, pid_of: PidOf) -> None:
    """Raises NetworkError or ProcessError; a repeated step is harmless."""
    match step:
        case plan.MakeBridge():
            await _make_bridge(step)
        case plan.MakeSwitch():
            await switches.make_switch(step)
        case plan.TakePort():
            await switches.take_port(step)
        case plan.ReleasePort(interface, was_down):
            await switches.release_port(interface, was_down=was_down)
        case plan.SetVlans():
            await switches.set_vlans(step)
        case plan.RemoveLink(link):
            await remove_link(link)
        case plan.MakeNetns(app_id):
            await _make_netns(instance, app_id, pid_of(app_id))
        case plan.RemoveNetns(app_id):
            await remove_netns(instance, app_id)
        case plan.MakeVifs():
            await _make_vifs(step, instance)
        case plan.MakeTaps():
            await _make_taps(step)
        case plan.SetGuestRoutes(netns):
            await _set_guest_routes(netns, instance)
        case plan.SetRouting():
            await _set_routing(step)
        case plan.TunePort(vif, is_filtered):
            await run_batch(_render_port(vif, is_filtered))


async def apply_ruleset(layout: Layout, instance: Instance, former: Layout | None = None) -> str:
    """Bring our table in line; answers its new fingerprint. Interfaces that are missing are left out, the kernel would refuse all.

    ``former``: the layout that the table shows now, when that is known.
    """
    for attempt in (1, 2):
        text = await observe.observe_table(instance.table)
        _, chains, sets = observe.parse_table(text)
        transaction = ruleset.render_ruleset(
            layout, instance.table, chains, sets, former if attempt == 1 else None, instance.log_group
        )
        try:
            await process.run(["nft", "-f", "-"], stdin=transaction.encode(), timeout_s=20)
            break
        except process.ProcessError as error:
            # The kernel takes an interface's chain away with the interface, also between look and change.
            if attempt == 2:
                raise NetworkError("the firewall table was refused", details=first_line(error)) from error
    return observe.parse_table(await observe.observe_table(instance.table))[0]


async def remove_table(instance: Instance) -> None:
    """Raises NetworkError when the table is still there."""
    try:
        await process.run(["nft", "delete", "table", "inet", instance.table], timeout_s=20)
    except process.ProcessError as error:
        if b"No such file or directory" not in error.stderr:
            raise NetworkError("the firewall table cannot be removed", details=first_line(error)) from error


async def write_forwarding(value: str) -> None:
    await asyncio.to_thread(_FORWARDING.write_text, value)


async def load_forwarding() -> str:
    return (await asyncio.to_thread(_FORWARDING.read_text)).strip()


async def load_accounting() -> str:
    """Whether the kernel counts packets of connections; empty while it follows none."""
    return (await asyncio.to_thread(files.load_file, _ACCOUNTING) or b"").decode().strip()


async def write_accounting(value: str) -> None:
    await asyncio.to_thread(_ACCOUNTING.write_text, value)


async def has_other_instances(instance: Instance) -> bool:
    """Whether another instance on this machine has bridges; it needs forwarding too."""
    names = await asyncio.to_thread(os.listdir, "/sys/class/net")
    return any(is_bridge_name(name) and not name.startswith(instance.bridge_prefix) for name in names)


async def remove_netns(instance: Instance, app_id: str) -> None:
    path = instance.netns_dir / app_id
    await process.run(["umount", "--lazy", str(path)], timeout_s=20, check=False)
    await asyncio.to_thread(path.unlink, missing_ok=True)


async def _make_bridge(step: plan.MakeBridge) -> None:
    bridge = step.bridge
    if not step.exists:
        await remove_link(bridge.link)
    made = [] if step.exists else [f"link add {bridge.link} type bridge forward_delay 0"]
    # Without an address of its own a bridge takes that of a port, and changes it when the port goes.
    mac = addressing.derive_mac(bridge.network_id, bridge.link, "bridge")
    await run_batch([*made, f"link set dev {bridge.link} address {mac} mtu {bridge.mtu}"])
    await asyncio.to_thread(_write_bridge_settings, bridge, step.is_filtered)
    filtering = [f"link set dev {bridge.link} type bridge nf_call_iptables 1"] if step.is_filtered else []
    stale = [f"addr del {address} dev {bridge.link}" for address in step.stale_addresses]
    await run_batch(
        [
            *filtering,
            *stale,
            f"addr replace {bridge.address} dev {bridge.link}",
            f"link set dev {bridge.link} up",
            f"link set dev {bridge.link} alias {bridge.network_id}",
        ]
    )


def _write_bridge_settings(bridge: WantedBridge, is_filtered: bool) -> None:
    v4, v6 = Path("/proc/sys/net/ipv4/conf") / bridge.link, Path("/proc/sys/net/ipv6/conf") / bridge.link
    settings = {
        # Makes node ports work for 127.0.0.1; the table's guard keeps apps off the host's loopback.
        v4 / "route_localnet": "1",
        v4 / "forwarding": "1",
        # What comes back from an app that is a gateway has addresses that the host would look for elsewhere.
        v4 / "rp_filter": "2",
        v4 / "proxy_arp_pvlan": "0" if is_filtered else "1",
        v6 / "disable_ipv6": "1",
    }
    for path, value in settings.items():
        if path.exists():
            path.write_text(value)


async def _make_netns(instance: Instance, app_id: str, pid: int) -> None:
    path = instance.netns_dir / app_id
    await remove_netns(instance, app_id)
    await asyncio.to_thread(path.touch, 0o600)
    if pid:
        await process.run(["mount", "--bind", f"/proc/{pid}/ns/net", str(path)], timeout_s=20)
        return
    await process.run(["unshare", f"--net={path}", "sh", "-c", _NO_IPV6], timeout_s=20)


async def _make_vifs(step: plan.MakeVifs, instance: Instance) -> None:
    await run_batch([f"link delete {link}" for link in step.stale])
    lines = []
    for vif in step.vifs:
        pair = f"link add {vif.inside} mtu {vif.mtu} address {vif.mac} type veth"
        lines += [
            f"{pair} peer name {vif.link} mtu {vif.mtu} netns {os.getpid()}",
            *([] if vif.is_switched else [f"addr add {vif.address}/{vif.prefix_length} dev {vif.inside}"]),
            f"link set dev {vif.inside} up",
        ]
    if step.netns.gateway:
        lines.append(f"route replace default via {step.netns.gateway}")
    lines += [_render_guest_route(route) for route in step.netns.routes]
    await run_batch(lines, netns=instance.netns_dir / step.netns.app_id)
    await _allow_ipv6([vif.inside for vif in step.vifs if vif.is_switched], instance.netns_dir / step.netns.app_id)
    ports = [line for vif in step.vifs for line in _render_port(vif, step.is_filtered)]
    marks = [f"link set dev {vif.link} alias {_quote(vif.mark)}" for vif in step.vifs]
    await run_batch([*ports, *marks])


async def _allow_ipv6(names: Iterable[str], netns: Path) -> None:
    """Local networks speak IPv4 alone, so namespaces start without IPv6; a switch carries whatever is outside."""
    for name in names:
        setting = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
        script = f"[ ! -e {setting} ] || echo 0 > {setting}"
        await process.run(["nsenter", f"--net={netns}", "sh", "-c", script], timeout_s=20)


async def _set_guest_routes(netns: WantedNetns, instance: Instance) -> None:
    """Ours bear our protocol's number; those that the app set for itself do not."""
    inside = ["nsenter", f"--net={instance.netns_dir / netns.app_id}", "ip", "-j", "route", "show"]
    shown = await process.run([*inside, "proto", str(ROUTE_PROTOCOL)], timeout_s=20)
    found = {str(route["dst"]) for route in msgspec.json.decode(shown.stdout or b"[]")}
    wanted = {destination.removesuffix("/32") for destination, _ in netns.routes}
    stale = [f"route del {destination} proto {ROUTE_PROTOCOL}" for destination in sorted(found - wanted)]
    fresh = [_render_guest_route(route) for route in netns.routes]
    await run_batch([*stale, *fresh], netns=instance.netns_dir / netns.app_id)


def _render_guest_route(route: tuple[str, str]) -> str:
    destination, gateway = route
    return f"route replace {destination} via {gateway} proto {ROUTE_PROTOCOL}"


async def _set_routing(step: plan.SetRouting) -> None:
    """Routes before the rules that lead to them, and rules away before their routes."""
    await _remove_routing(step.remove_rules, step.remove_routes)
    await run_batch(
        [
            *(f"route replace {_render_route(route)}" for route in step.add_routes),
            *(f"rule add {_render_rule(rule)}" for rule in step.add_rules),
        ]
    )


async def _remove_routing(rules: Iterable[Rule], routes: Iterable[Route]) -> None:
    """The kernel takes routes away with their link, also between look and change: what is gone is no error."""
    lines = [f"rule del {_render_rule(rule)}" for rule in rules]
    lines += [f"route del {_render_route(route)}" for route in routes]
    if lines:
        batch = "".join(f"{line}\n" for line in lines)
        await process.run(["ip", "-force", "-batch", "-"], stdin=batch.encode(), timeout_s=20, check=False)


def _render_route(route: Route) -> str:
    via = f"via {route.gateway} " if route.gateway else ""
    return f"{route.destination} {via}dev {route.link} table {route.table} proto {ROUTE_PROTOCOL}"


def _render_rule(rule: Rule) -> str:
    match = f"iif {rule.iif}" if rule.iif else f"fwmark {rule.mark:#x}/{MARK_MASK:#x}"
    action = f"table {rule.table}" if rule.table else "unreachable"
    return f"priority {rule.priority} {match} {action}{' suppress_prefixlength 0' if rule.is_specific else ''}"


async def remove_routing(seen: SeenHost) -> None:
    """Remove our rules and empty our tables."""
    await _remove_routing(seen.rules, seen.routes)


async def _make_taps(step: plan.MakeTaps) -> None:
    """Taps stay when the program that opened them ends; QEMU sets what it needs (offloads) when it opens one."""
    if any(vif.link not in step.existing for vif in step.vifs):
        await tuntap.load_tun()
    lines = [f"link delete {link}" for link in step.stale]
    for vif in step.vifs:
        if vif.link not in step.existing:
            lines.append(f"tuntap add dev {vif.link} mode tap")
        lines += [f"link set dev {vif.link} mtu {vif.mtu}", *_render_port(vif, step.is_filtered)]
    await run_batch(lines)
    await asyncio.to_thread(_silence_ipv6, [vif.link for vif in step.vifs])
    await run_batch(f"link set dev {vif.link} alias {_quote(vif.mark)}" for vif in step.vifs)


def _silence_ipv6(links: list[str]) -> None:
    """Else the host would speak IPv6 to the guest from its own end."""
    for link in links:
        path = Path("/proc/sys/net/ipv6/conf") / link / "disable_ipv6"
        if path.exists():
            path.write_text("1")


def _render_port(vif: WantedVif, is_filtered: bool) -> list[str]:
    isolated, hairpin = ("off", "on") if is_filtered else ("on", "off")
    if vif.is_switched:
        isolated, hairpin = "off", "off"
    return [
        f"link set dev {vif.link} master {vif.bridge}",
        f"link set dev {vif.link} type bridge_slave isolated {isolated} hairpin {hairpin}",
        f"link set dev {vif.link} up",
    ]


def _quote(text: str) -> str:
    return f'"{text}"'

"""What is on the host now, as far as networks go. Read-only."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from eaves.kit import process
from eaves.node.desired.port_bridges import SHARED_PREFIX, name_bridge
from eaves.node.instance import Instance
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.model import Route, Rule, SeenHost, SeenLink, SeenPort
from eaves.node.networks.routing import PRIORITIES, ROUTE_PROTOCOL

LLDP_MASK = 0x4000
"""The group address 01:80:c2:00:00:0e in a bridge's ``group_fwd_mask`` (IEEE 802.1AB)."""
_TCP_LISTEN = "0A"
_UDP_BOUND = "07"
_UNKNOWN_PORTS = (32768, 60999)


_QUESTIONS = ("addr show", "route show default", f"route show table all proto {ROUTE_PROTOCOL}", "rule show")


async def observe_host_network(instance: Instance) -> SeenHost:
    """Raises EavesError when the host's tools fail."""
    shown, table = await asyncio.gather(_ask_ip(), observe_table(instance.table))
    return await asyncio.to_thread(_observe, instance, shown, parse_table(table))


async def _ask_ip() -> list[list[dict[str, Any]]]:
    """One answer to each question."""
    questions = "".join(f"{question}\n" for question in _QUESTIONS)
    shown = await process.run(["ip", "-j", "-d", "-batch", "-"], stdin=questions.encode(), timeout_s=20)
    answers = [msgspec.json.decode(line) for line in shown.stdout.splitlines() if line.strip()]
    if len(answers) != len(_QUESTIONS):
        raise NetworkError("ip does not tell links, routes and rules as expected", details=shown.text[:1000])
    return answers


async def observe_table(table: str, family: str = "inet") -> str:
    """Our table as text without counters and set elements; empty when there is none."""
    shown = await process.run(["nft", "-s", "-t", "list", "table", family, table], timeout_s=20, check=False)
    return shown.text if shown.returncode == 0 else ""


def parse_table(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Fingerprint, names of chains, names of sets."""
    if not text:
        return "", (), ()
    chains = tuple(re.findall(r"^\tchain (\S+) \{", text, re.MULTILINE))
    sets = tuple(re.findall(r"^\tset (\S+) \{", text, re.MULTILINE))
    return hashlib.sha256(text.encode()).hexdigest(), chains, sets


def parse_links(links: list[dict[str, Any]], prefixes: tuple[str, ...]) -> dict[str, SeenLink]:
    """Our links out of ``ip -j -d addr``."""
    names = {link.get("ifindex"): link.get("ifname", "") for link in links}
    found = {}
    for link in links:
        name = link.get("ifname", "")
        if not name.startswith(prefixes):
            continue
        info = link.get("linkinfo", {})
        port = info.get("info_slave_data", {})
        addresses = tuple(
            f"{address['local']}/{address['prefixlen']}"
            for address in link.get("addr_info", [])
            if address.get("family") == "inet"
        )
        master = link.get("master", "")
        found[name] = SeenLink(
            name=name,
            kind=info.get("info_kind", ""),
            is_up="UP" in link.get("flags", []),
            mtu=link.get("mtu", 0),
            alias=link.get("ifalias", ""),
            master=names.get(master, "") if isinstance(master, int) else master,
            addresses=addresses,
            has_stp=bool(info.get("info_data", {}).get("stp_state", 0)),
            has_vlans=bool(info.get("info_data", {}).get("vlan_filtering", 0)),
            forwards_lldp=int(str(info.get("info_data", {}).get("group_fwd_mask", "0")), 16) & LLDP_MASK != 0,
            is_filtered=bool(info.get("info_data", {}).get("nf_call_iptables", 0)),
            isolated=bool(port.get("isolated", False)),
            hairpin=bool(port.get("hairpin", False)),
        )
    return found


def parse_vlans(ports: list[dict[str, Any]]) -> dict[str, frozenset[tuple[int, int, bool]]]:
    """``bridge -j -compressvlans vlan show``: link → (first, last, untagged)."""
    return {
        port["ifname"]: frozenset(
            (vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]), "Egress Untagged" in vlan.get("flags", []))
            for vlan in port.get("vlans", [])
        )
        for port in ports
        if "ifname" in port
    }


async def observe_vlans() -> dict[str, frozenset[tuple[int, int, bool]]]:
    """VLANs of every bridge port on the host. Raises ProcessError."""
    shown = await process.run(["bridge", "-j", "-compressvlans", "vlan", "show"], timeout_s=20)
    return parse_vlans(msgspec.json.decode(shown.stdout or b"[]"))


def parse_sockets(text: str, protocol: str) -> set[tuple[str, int]]:
    """Ports that programs hold, from ``/proc/net/tcp`` and the like. A UDP client's passing port is not told from a server's."""
    wanted = _TCP_LISTEN if protocol == "tcp" else _UDP_BOUND
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == wanted:
            port = int(fields[1].rsplit(":", 1)[1], 16)
            if protocol == "tcp" or not _UNKNOWN_PORTS[0] <= port <= _UNKNOWN_PORTS[1]:
                found.add((protocol, port))
    return found


def parse_default_uplink(text: str) -> str:
    """Interface of the default route with the lowest metric, from ``/proc/net/route``."""
    routes = [line.split() for line in text.splitlines()[1:]]
    defaults = [(int(route[6]), route[0]) for route in routes if len(route) > 7 and route[1] == route[7] == "00000000"]
    return min(defaults)[1] if defaults else ""


def observe_pinned(folder: Path) -> frozenset[str]:
    """Names of the network namespaces that are pinned in ``folder``."""
    prefix = f"{folder}/"
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    return frozenset(
        fields[4].removeprefix(prefix)
        for fields in mounts
        if fields[4].startswith(prefix) and fields[fields.index("-") + 1] == "nsfs"
    )


def parse_ports(links: list[dict[str, Any]], routes: list[dict[str, Any]]) -> dict[str, SeenPort]:
    """Interfaces of the host, with the gateway of the default route of lowest metric by each."""
    gateways: dict[str, str] = {}
    for route in sorted(routes, key=lambda route: int(route.get("metric", 0)), reverse=True):
        if route.get("gateway") and route.get("dev"):
            gateways[route["dev"]] = route["gateway"]
    found = {
        link["ifname"]: SeenPort(
            mtu=link.get("mtu", 1500),
            is_up={"UP", "LOWER_UP"} <= set(link.get("flags", [])),
            addresses=tuple(
                f"{address['local']}/{address['prefixlen']}"
                for address in link.get("addr_info", [])
                if address.get("family") == "inet"
            ),
            gateway=gateways.get(link["ifname"], ""),
            master=link.get("master", ""),
            kind=link.get("linkinfo", {}).get("info_kind", ""),
            has_ipv6=any(
                address.get("family") == "inet6" and address.get("scope") != "link"
                for address in link.get("addr_info", [])
            ),
            is_raised="UP" in link.get("flags", []),
            is_locked=bool(link.get("linkinfo", {}).get("info_slave_data", {}).get("locked", False)),
        )
        for link in links
        if "ifname" in link
    }
    # Apps keep the bridge of a shared port up when its cable is pulled.
    led = {port.master for name, port in found.items() if port.is_up and port.master == name_bridge(name)}
    shared = {name for name, port in found.items() if name.startswith(SHARED_PREFIX) and port.kind == "bridge"}
    return found | {name: replace(found[name], is_up=False) for name in shared - led}


def parse_routes(routes: list[dict[str, Any]], tables: range) -> frozenset[Route]:
    """Those in our tables."""
    found = set()
    for route in routes:
        table, destination = str(route.get("table", "")), str(route.get("dst", ""))
        if not table.isdecimal() or int(table) not in tables:
            continue
        destination = "0.0.0.0/0" if destination == "default" else destination
        destination = destination if "/" in destination else f"{destination}/32"
        found.add(Route(int(table), destination, route.get("dev", ""), route.get("gateway", "")))
    return frozenset(found)


def parse_rules(rules: list[dict[str, Any]], tables: range, bridge_prefix: str) -> frozenset[Rule]:
    """Those that name our tables, or our bridges at one of our priorities."""
    found = set()
    for rule in rules:
        table, iif = str(rule.get("table", "")), rule.get("iif", "")
        number = int(table) if table.isdecimal() else 0
        is_ours = number in tables or (rule.get("action") == "unreachable" and iif.startswith(bridge_prefix))
        if is_ours and rule.get("priority", 0) in PRIORITIES:
            mark = int(str(rule.get("fwmark", "0")), 0)
            found.add(Rule(rule["priority"], number, iif, mark, "suppress_prefixlen" in rule))
    return frozenset(found)


def _observe(
    instance: Instance, shown: list[list[dict[str, Any]]], table: tuple[str, tuple[str, ...], tuple[str, ...]]
) -> SeenHost:
    links, defaults, routes, rules = shown
    fingerprint, chains, sets = table
    tables = range(instance.routing_table, instance.routing_table + 256)
    prefixes = (instance.bridge_prefix, instance.veth_prefix)
    foreign = [link for link in links if not link.get("ifname", "").startswith(prefixes)]
    listening: set[tuple[str, int]] = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        path = Path("/proc/net") / name
        if path.exists():
            listening |= parse_sockets(path.read_text(encoding="ascii"), name[:3])
    return SeenHost(
        links=parse_links(links, prefixes),
        netns=observe_pinned(instance.netns_dir),
        has_bridge_filter=Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
        has_forwarding=Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii").strip() != "0",
        table=fingerprint,
        chains=chains,
        sets=sets,
        listening=frozenset(listening),
        ports=parse_ports(foreign, defaults),
        routes=parse_routes(routes, tables),
        rules=parse_rules(rules, tables, instance.bridge_prefix),
        default_uplink=parse_default_uplink(Path("/proc/net/route").read_text(encoding="ascii")),
        subnets=_list_subnets(foreign),
    )


def _list_subnets(links: list[dict[str, Any]]) -> tuple[str, ...]:
    found = []
    for link in links:
        for address in link.get("addr_info", []):
            if address.get("family") == "inet":
                network = ipaddress.IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
                found.append(str(network))
    return tuple(found)

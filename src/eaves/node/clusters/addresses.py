"""The cluster IP and the virtual API address on the cluster's port: found, added, announced, taken away.

Only addresses that were added here are ever removed; what the host has of its own is used as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from eaves.kit import process
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import KernelFacts
from eaves.node.desired.port_bridges import name_bridge
from eaves.node.networks.model import Port

_BROADCAST = b"\xff" * 6
_ARP_TYPE = 0x0806
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_GENERAL = ("", "uplink", "freeuplink", "all")


class Interface(Struct, frozen=True):
    """A link of the host and its addresses as ``IP/prefix``."""

    name: str
    addresses: tuple[str, ...] = ()
    master: str = ""

    def has(self, address: str) -> bool:
        return any(known.partition("/")[0] == address for known in self.addresses)


def find_interface_name(label: str, ports: Sequence[Port], links: Sequence[str], default: str) -> str:
    """The link that ``label`` means: a port's label, a link's own name, or the default route's for the general ones. Empty = none."""
    named = [port for port in ports if label and (label == port.label or label in port.shared_labels)]
    if label in _GENERAL:
        named = [port for port in ports if port.is_uplink]
    for port in sorted(named, key=lambda port: port.cost):
        if port.interface in links:
            return port.interface
    if label in links:
        return label
    return default if label in _GENERAL else ""


def parse_interfaces(shown: str) -> dict[str, Interface]:
    """Of ``ip -j addr show``."""
    found: dict[str, Interface] = {}
    entries: list[dict[str, Any]] = json.loads(shown or "[]")
    for entry in entries:
        if name := entry.get("ifname", ""):
            addresses = tuple(
                f"{info['local']}/{info['prefixlen']}" for info in entry.get("addr_info", []) if "local" in info
            )
            found[name] = Interface(name, addresses, entry.get("master", ""))
    return found


def render_announcement(mac: bytes, address: str) -> bytes:
    """A gratuitous ARP request (RFC 5227): who has our address, asked by ourselves, to all."""
    ip = ipaddress.IPv4Address(address).packed
    arp = _ARP.pack(1, 0x0800, 6, 4, 1, mac, ip, b"\0" * 6, ip)
    return _BROADCAST + mac + struct.pack("!H", _ARP_TYPE) + arp


async def observe_interfaces() -> dict[str, Interface]:
    shown = await process.run(["ip", "-j", "addr", "show"], timeout_s=20)
    return parse_interfaces(shown.text)


async def observe_default_link() -> str:
    shown = await process.run(["ip", "-j", "route", "show", "default"], timeout_s=20, check=False)
    routes: list[dict[str, Any]] = json.loads(shown.text or "[]") if shown.returncode == 0 else []
    return str(routes[0].get("dev", "")) if routes else ""


async def want_interface(label: str, ports: Sequence[Port]) -> Interface:
    """The cluster's port. Raises ClusterError."""
    links = await observe_interfaces()
    name = find_interface_name(label, ports, tuple(links), await observe_default_link())
    if not name:
        raise ClusterError(
            f"no port of this node bears the label {label or 'uplink'}",
            code="ClusterPortMissing",
            resolution="label a port of the node, or correct the cluster's interface",
        )
    return follow_bridge(links[name], links)


def follow_bridge(interface: Interface, links: Mapping[str, Interface]) -> Interface:
    """Where the node shares the cable with a switch its addresses are on the bridge over it."""
    return links.get(interface.master, interface) if interface.master == name_bridge(interface.name) else interface


def has_moved(interface: str) -> bool:
    """Whether :func:`want_interface` may answer another one now: this one is gone, or under another. Blocking."""
    folder = Path("/sys/class/net") / interface
    return not folder.exists() or (folder / "master").exists()


async def add_address(interface: str, address: str, *, lifetime_s: int = 0, is_told: bool = True) -> None:
    """``address`` is ``IP/prefix``; one that is there is left, its lifetime begins anew. ``is_told``: others on the link learn of it.

    ``lifetime_s`` 0 = for ever. Raises ClusterError.
    """
    lifetime = ["valid_lft", str(lifetime_s), "preferred_lft", str(lifetime_s)] if lifetime_s else []
    try:
        await process.run(["ip", "addr", "replace", address, "dev", interface, *lifetime], timeout_s=20)
    except process.ProcessError as error:
        raise ClusterError(
            f"the address {address} cannot be added to {interface}: {error.details.splitlines()[0] if error.details else error}",
            code="ClusterAddressRefused",
        ) from error
    if is_told:
        await asyncio.to_thread(announce, interface, address.partition("/")[0])


async def remove_address(interface: str, address: str) -> None:
    await process.run(["ip", "addr", "del", address, "dev", interface], timeout_s=20, check=False)


def announce(interface: str, address: str) -> None:
    """Tell the link where ``address`` is now; IPv6 neighbours find out by themselves. Blocking, short."""
    if ":" in address:
        return
    with contextlib.suppress(OSError, ValueError):
        mac = bytes.fromhex(
            Path(f"/sys/class/net/{interface}/address").read_text(encoding="ascii").strip().replace(":", "")
        )
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
            link.bind((interface, 0))
            for _ in range(2):
                link.send(render_announcement(mac, address))


async def observe_kernel() -> KernelFacts:
    """Tried in a network namespace that goes with the command: a module list tells less than a link that could be made."""
    kinds = (("vxlan", "id", "1", "dstport", "4789"), ("wireguard",), ("bridge",))
    can = [
        (
            await process.run(
                ["unshare", "--net", "ip", "link", "add", "evprobe", "type", *kind], timeout_s=20, check=False
            )
        ).returncode
        == 0
        for kind in kinds
    ]
    return KernelFacts(*can)

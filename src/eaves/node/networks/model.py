"""What networks look like on this node: the wanted layout, the remembered state, and what is seen on the host."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from eaves.node.desired.model import AclRule


class NetworkState(Struct):
    """What must outlive the daemon. Changed only by ``plan``; saved by the service.

    ``bridges``: network id → number of its bridge. ``addresses``: network id → ``app id/interface`` → address, kept after the
    app has gone so that it gets the same one when it returns. ``earlier_forwarding``: value of ``net.ipv4.ip_forward`` before the engine
    changed it; empty = not changed.
    """

    bridges: dict[str, int] = {}
    addresses: dict[str, dict[str, str]] = {}
    earlier_forwarding: str = ""


class Problem(Struct, frozen=True):
    """Why a network or an app cannot be connected as asked. ``object_id`` is a network's or an app's id.

    ``is_blocking``: the object is left out of the layout; otherwise only a part of it is.
    """

    object_id: str
    code: str
    message: str
    resolution: str = ""
    is_blocking: bool = True


class WantedBridge(Struct, frozen=True):
    """A network instance as a bridge. ``address`` is the gateway with prefix length; ``uplink`` empty = whichever way the host routes."""

    network_id: str
    link: str
    address: str
    subnet: str
    mtu: int
    air_gapped: bool
    uplink: str = ""
    domain: str = ""
    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    static_hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    metadata_port: int = 0
    """Port of the metadata server on the gateway's address; 0 = apps find none."""

    @property
    def gateway(self) -> str:
        return self.address.split("/")[0]

    @property
    def prefix_length(self) -> int:
        return int(self.address.split("/")[1])


class WantedVif(Struct, frozen=True):
    """One interface of an app. ``name`` is the config's, ``inside`` the name in the app (eth0 …), ``link`` the host's end."""

    app_id: str
    name: str
    inside: str
    link: str
    network_id: str
    bridge: str
    address: str
    prefix_length: int
    gateway: str
    mac: str
    mtu: int
    acls: tuple[AclRule, ...] = ()

    @property
    def mark(self) -> str:
        """Kept as the link's alias: tells after a restart how the link was set up, so that a change shows."""
        return f"{self.app_id} {self.inside} {self.address}/{self.prefix_length} {self.mac} {self.gateway} {self.mtu}"


class WantedNetns(Struct, frozen=True):
    """An app's network namespace and its interfaces; a virtual machine (``is_virtual``) has taps and no namespace.

    ``names`` are what DNS answers for the app, ``hostname`` what it calls itself, ``gateway`` the way of its default route (empty =
    no interface).
    """

    app_id: str
    hostname: str
    names: tuple[str, ...]
    vifs: tuple[WantedVif, ...]
    gateway: str = ""
    is_virtual: bool = False


class PortMap(Struct, frozen=True):
    """A port of the node that leads to an app. ``source`` empty = from anywhere; ``uplink`` empty = on every interface."""

    app_id: str
    protocol: str
    node_port: int
    address: str
    app_port: int
    source: str = ""
    uplink: str = ""


class Layout(Struct, frozen=True):
    bridges: tuple[WantedBridge, ...] = ()
    netns: tuple[WantedNetns, ...] = ()
    port_maps: tuple[PortMap, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def vifs(self) -> tuple[WantedVif, ...]:
        return tuple(vif for netns in self.netns for vif in netns.vifs)


class SeenLink(Struct, frozen=True):
    """A link with one of our prefixes. ``isolated`` and ``hairpin`` are those of a bridge port."""

    name: str
    kind: str
    is_up: bool
    mtu: int
    alias: str
    master: str
    addresses: tuple[str, ...]
    is_filtered: bool = False
    isolated: bool = False
    hairpin: bool = False


class SeenHost(Struct, frozen=True):
    """What is on the host now. ``netns``: ids of pinned namespaces. ``has_bridge_filter``: br_netfilter is loaded.

    ``table``: fingerprint of our table's text, empty = no table. ``listening``: (protocol, port) that host programs hold.
    """

    links: Mapping[str, SeenLink] = {}
    netns: frozenset[str] = frozenset()
    has_bridge_filter: bool = False
    has_forwarding: bool = False
    table: str = ""
    chains: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    listening: frozenset[tuple[str, int]] = frozenset()
    uplinks: Mapping[str, int] = {}
    """Host interfaces by name → MTU."""
    default_uplink: str = ""
    subnets: tuple[str, ...] = ()
    """Subnets of the host's own interfaces."""

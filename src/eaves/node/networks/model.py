"""What networks look like on this node: the wanted layout, the remembered state, and what is seen on the host."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from eaves.node.desired.model import AclRule


class NetworkState(Struct):
    """What must outlive the daemon. Changed only by ``plan``; saved by the service.

    ``bridges``: network id → number of its bridge. ``addresses``: network id → ``app id/interface`` → address, kept after the
    app has gone so that it gets the same one when it returns. ``earlier_forwarding``: value of ``net.ipv4.ip_forward`` before the engine
    changed it; empty = not changed. ``earlier_accounting``: the same of ``net.netfilter.nf_conntrack_acct``.
    """

    bridges: dict[str, int] = {}
    addresses: dict[str, dict[str, str]] = {}
    earlier_forwarding: str = ""
    earlier_accounting: str = ""
    ports: dict[str, int] = {}
    """Host interface → its number among uplinks: names its routing table and the mark of its connections."""
    raised: list[str] = []
    """Host interfaces that were down before a switch took them."""
    learned: dict[str, list[str]] = {}
    """Link on a switch → addresses that its app was seen to use, newest first."""


class Port(Struct, frozen=True):
    """A port of the node. ``cost`` 0 is free; ``is_uplink``: the node reaches its controller by it."""

    label: str
    interface: str
    cost: int = 0
    shared_labels: tuple[str, ...] = ()
    is_uplink: bool = True


class ProbeTarget(Struct, frozen=True):
    """What must answer by an interface for it to count as a way out: the gateway if ``is_pinged``, and a host if there is one.

    ``port``: TCP port of the host, 0 = it is pinged.
    """

    interface: str
    gateway: str
    is_pinged: bool = False
    host: str = ""
    port: int = 0


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
    """The host interface that new connections leave by; empty = whichever way the host routes, or none."""
    uplinks: tuple[str, ...] = ()
    """Every interface that connections may leave by; empty = any."""
    uplink_label: str = ""
    uplink_reason: str = ""
    guest_routes: tuple[tuple[str, str], ...] = ()
    """(destination, gateway) that guests are told."""
    domain: str = ""
    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    static_hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    flow_log: bool = False
    metadata_port: int = 0
    """Port of the metadata server on the gateway's address; 0 = apps find none."""

    @property
    def gateway(self) -> str:
        return self.address.split("/")[0]

    @property
    def prefix_length(self) -> int:
        return int(self.address.split("/")[1])


class SwitchPort(Struct, frozen=True):
    """A host interface that a switch takes. ``vlan``: the one it carries untagged, 0 = a trunk of all.

    ``has_guard``: it is shut when a spanning-tree message comes in.
    """

    interface: str
    label: str
    vlan: int = 0
    has_guard: bool = False


class WantedSwitch(Struct, frozen=True):
    """A network instance as a bridge without an address of its own."""

    network_id: str
    link: str
    mtu: int
    ports: tuple[SwitchPort, ...] = ()
    has_vlans: bool = False
    forwards_lldp: bool = False
    flow_log: bool = False
    is_shared: bool = False
    """The node's own way out, which the ports' service made and holds; apps join it, and nothing else of it is touched."""

    @property
    def has_tree(self) -> bool:
        """Several ways out could be a loop; and a guard listens for what a spanning tree says."""
        return not self.is_shared and (len(self.ports) > 1 or any(port.has_guard for port in self.ports))


class WantedVif(Struct, frozen=True):
    """One interface of an app. ``name`` is the config's, ``inside`` the name in the app (eth0 …), ``link`` the host's end.

    ``is_switched``: it is on a switch, where addresses come from outside; ``vlan`` 0 is then a trunk of all VLANs, and ``flow_log``
    says whether its rules tell what they let through (those of Local networks ask their bridge).
    """

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
    gateway_for: tuple[str, ...] = ()
    """Subnets that the app is the gateway to: it may send from their addresses."""
    is_switched: bool = False
    vlan: int = 0
    flow_log: bool = False
    is_beside_host: bool = False
    """The node has its own address on the same switch."""

    @property
    def mark(self) -> str:
        """Kept as the link's alias: tells after a restart how the link was set up, so that a change shows."""
        if self.is_switched:
            return f"{self.app_id} {self.inside} switched {self.mac} {self.mtu}"
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
    routes: tuple[tuple[str, str], ...] = ()
    """(destination, gateway) besides the default route."""


class PortMap(Struct, frozen=True):
    """A port of the node that leads to an app. ``source`` empty = from anywhere; ``uplink`` empty = on every interface."""

    app_id: str
    protocol: str
    node_port: int
    address: str
    app_port: int
    source: str = ""
    uplink: str = ""


class Route(Struct, frozen=True):
    """A route in one of our tables. ``destination`` in CIDR; ``gateway`` empty = on the link itself."""

    table: int
    destination: str
    link: str
    gateway: str = ""


class Rule(Struct, frozen=True):
    """A routing rule of ours: packets from the bridge ``iif``, or with ``mark``, are looked up in ``table`` (0 = unreachable).

    ``is_specific``: the table's default route is passed over.
    """

    priority: int
    table: int
    iif: str = ""
    mark: int = 0
    is_specific: bool = False


class Layout(Struct, frozen=True):
    """``bridges`` are the networks of kind Local, ``switches`` the others; ``vifs`` are the interfaces on the former."""

    bridges: tuple[WantedBridge, ...] = ()
    netns: tuple[WantedNetns, ...] = ()
    port_maps: tuple[PortMap, ...] = ()
    problems: tuple[Problem, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    marks: tuple[tuple[str, int], ...] = ()
    """Uplink → mark of the connections that use it."""
    targets: tuple[ProbeTarget, ...] = ()
    switches: tuple[WantedSwitch, ...] = ()
    vlans: Mapping[str, frozenset[tuple[int, int, bool]]] = {}
    """Link → (first, last, untagged) of its VLANs."""

    @property
    def networks(self) -> tuple[WantedBridge | WantedSwitch, ...]:
        return (*self.bridges, *self.switches)

    @property
    def vifs(self) -> tuple[WantedVif, ...]:
        return tuple(vif for netns in self.netns for vif in netns.vifs if not vif.is_switched)

    @property
    def switch_vifs(self) -> tuple[WantedVif, ...]:
        return tuple(vif for netns in self.netns for vif in netns.vifs if vif.is_switched)


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
    has_stp: bool = False
    has_vlans: bool = False
    forwards_lldp: bool = False


class SeenPort(Struct, frozen=True):
    """An interface of the host that is not ours. ``is_up``: set up and with a carrier; ``addresses``: IPv4 with prefix length."""

    mtu: int = 1500
    is_up: bool = True
    addresses: tuple[str, ...] = ()
    gateway: str = ""
    """Of its default route in the host's main table."""
    master: str = ""
    kind: str = ""
    has_ipv6: bool = False
    """It has an IPv6 address that others can reach."""
    is_raised: bool = True
    """Set up, with or without a carrier."""
    is_locked: bool = False
    """As a port of a bridge: a spanning tree lets no frame through (``rstp.kernel``)."""


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
    ports: Mapping[str, SeenPort] = {}
    """Host interfaces by name."""
    routes: frozenset[Route] = frozenset()
    """In our tables."""
    rules: frozenset[Rule] = frozenset()
    vlans: Mapping[str, frozenset[tuple[int, int, bool]]] = {}
    """Port of a bridge → (first, last, untagged) of its VLANs; only looked at where switches have any."""
    raised: frozenset[str] = frozenset()
    """Host interfaces that were down before a switch took them."""
    guest_routes: Mapping[str, tuple[tuple[str, str], ...]] = {}
    """App id → routes that its namespace was given; unknown after a restart of the daemon."""
    default_uplink: str = ""
    subnets: tuple[str, ...] = ()
    """Subnets of the host's own interfaces."""

"""What a Network asks for: the Structs of its ``spec``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct

from eaves.kinds.fields import about, keyed


class NetworkType(StrEnum):
    LOCAL = "Local"
    SWITCH = "Switch"


class DhcpRange(Struct, frozen=True, rename="camel", kw_only=True):
    """Addresses given out to apps, both ends included."""

    start: Annotated[str, about("First address.", max_length=45)]
    end: Annotated[str, about("Last address.", max_length=45)]


class UplinkProbe(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """How to tell that a port leads where it should. Without a probe a link with an address and a gateway is enough."""

    gateway_ping: Annotated[bool, about("Ping the port's gateway.")] = False
    gateway_ping_max_cost: Annotated[
        int, about("Gateways of ports with a higher cost are not pinged, to spare their data.", ge=0, le=255)
    ] = 0
    host: Annotated[str, about("Address or name that must answer as well.", max_length=253)] = ""
    port: Annotated[int, about("TCP port of the host; it is pinged when 0.", ge=0, le=65535)] = 0


class UplinkSelector(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """By which ports of the node the network reaches the world: the one of lowest cost that works."""

    label: Annotated[
        str,
        about(
            "Label of ports: a port's name, a label that ports share, or uplink, freeuplink, all; empty = no way out.",
            max_length=63,
        ),
    ] = "uplink"
    probe: Annotated[UplinkProbe | None, about("How to tell that a port works.")] = None


class Route(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A static route for the packets of the network's apps. Exactly one of gateway and uplink."""

    destination: Annotated[str, about("IPv4 subnet in CIDR notation.", min_length=1, max_length=18)]
    gateway: Annotated[
        str, about("Next hop: an app on this network, or a router beside one of its ports.", max_length=15)
    ] = ""
    uplink: Annotated[str, about("Label of the ports of which the best is taken.", max_length=63)] = ""
    probe: Annotated[UplinkProbe | None, about("How to tell that a port works, for uplink.")] = None


class AccessPort(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A port that carries one VLAN untagged; the other ports carry all VLANs tagged."""

    port: Annotated[str, about("Label of the port.", min_length=1, max_length=63)]
    vlan: Annotated[int, about("VLAN number.", ge=1, le=4094)]


class DnsEntry(Struct, frozen=True, rename="camel", kw_only=True):
    """A fixed name."""

    name: Annotated[str, about("Host name.", min_length=1, max_length=253)]
    addresses: Annotated[list[str], about("IP addresses it resolves to.", min_length=1, max_length=64)]


class Dns(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Name resolution for the apps of the network."""

    servers: Annotated[list[str], about("Resolvers to forward to; the node's own when empty.", max_length=8)] = []
    entries: Annotated[list[DnsEntry], keyed("name", description="Fixed names.", max_length=1024)] = []


class NetworkSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the network is to be."""

    type: Annotated[NetworkType, about("Local: NAT with DHCP and DNS. Switch: a bridge to a port of the node.")] = (
        NetworkType.LOCAL
    )
    subnet: Annotated[
        str, about("IPv4 subnet in CIDR notation; chosen for you when absent (Local only).", max_length=18)
    ] = ""
    gateway: Annotated[
        str, about("The node's address in the subnet; the first host address when absent.", max_length=15)
    ] = ""
    dhcp_range: Annotated[DhcpRange | None, about("Addresses for apps; the upper part of the subnet when absent.")] = (
        None
    )
    uplink: Annotated[UplinkSelector, about("Way to the world; for Switch the ports that are joined.")] = (
        UplinkSelector()
    )
    routes: Annotated[list[Route], keyed("destination", description="Static routes (Local only).", max_length=64)] = []
    propagate_connected_routes: Annotated[
        bool, about("Tell apps the subnets of the network's ports as routes (Local only).")
    ] = False
    dns: Annotated[Dns, about("Name resolution.")] = Dns()
    ntp: Annotated[list[str], about("Time servers told to apps.", max_length=8)] = []
    domain: Annotated[str, about("DNS domain of the apps.", max_length=253)] = ""
    mtu: Annotated[int, about("Largest packet; the node's default when 0.", ge=0, le=65535)] = 0
    access_ports: Annotated[
        list[AccessPort], keyed("port", description="Ports that carry one VLAN untagged (Switch only).", max_length=32)
    ] = []
    bpdu_guard_port: Annotated[
        str,
        about("Label of ports that are shut when a spanning-tree message comes in (Switch only).", max_length=63),
    ] = ""
    forward_lldp: Annotated[bool, about("Pass LLDP between the ports (Switch only).")] = False
    disable_flowlog: Annotated[bool, about("Do not log connections.")] = True

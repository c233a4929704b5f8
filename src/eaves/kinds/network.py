"""Network: a network instance that apps attach to, made on each node where one of them runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct, field

from eaves.kinds.fields import Conditions, about, keyed
from eaves.kinds.metadata import ObjectMeta
from eaves.kube.resource import Object


class NetworkType(StrEnum):
    LOCAL = "Local"
    SWITCH = "Switch"


class DhcpRange(Struct, frozen=True, rename="camel", kw_only=True):
    """Addresses given out to apps, both ends included."""

    start: Annotated[str, about("First address.", max_length=45)]
    end: Annotated[str, about("Last address.", max_length=45)]


class UplinkSelector(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """By which port of the node the network reaches the world."""

    label: Annotated[str, about("Label of a port, or uplink for any port; empty = no way out.", max_length=63)] = (
        "uplink"
    )


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
    uplink: Annotated[UplinkSelector, about("Way to the world.")] = UplinkSelector()
    dns: Annotated[Dns, about("Name resolution.")] = Dns()
    ntp: Annotated[list[str], about("Time servers told to apps.", max_length=8)] = []
    domain: Annotated[str, about("DNS domain of the apps.", max_length=253)] = ""
    mtu: Annotated[int, about("Largest packet; the node's default when 0.", ge=0, le=65535)] = 0
    disable_flowlog: Annotated[bool, about("Do not log connections.")] = True


class NetworkOnNode(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The network on one node."""

    node_name: Annotated[str, about("The node.")]
    state: Annotated[str, about("Pending, Online or Error.")] = ""
    bridge: Annotated[str, about("Linux bridge.")] = ""
    ports: Annotated[list[str], about("Ports in use as uplink.")] = []
    addresses: Annotated[int, about("How many app interfaces have an address.")] = 0
    message: Annotated[str, about("What is wrong.")] = ""


class NetworkStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where the network is up."""

    conditions: Conditions = []
    nodes: Annotated[list[NetworkOnNode], keyed("nodeName", description="State on each node that uses it.")] = []
    observed_generation: Annotated[int, about("Generation of the spec that was seen.")] = 0


class Network(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A network for apps."""

    api_version: str = field(name="apiVersion", default="eaves.dev/v1alpha1")
    kind: str = "Network"
    metadata: ObjectMeta = ObjectMeta()
    spec: NetworkSpec = NetworkSpec()
    status: NetworkStatus = NetworkStatus()


def decode(obj: Object) -> Network:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Network)

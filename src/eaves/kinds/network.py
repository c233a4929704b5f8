"""Network: a network instance that apps attach to, made on each node where one of them runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules, subnets
from eaves.kinds.columns import at, count
from eaves.kinds.fields import Conditions, about, keyed
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import forbidden, invalid
from eaves.kinds.serving import eaves_resource
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


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

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: NetworkSpec = NetworkSpec()
    status: NetworkStatus = NetworkStatus()


def decode(obj: Object) -> Network:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Network)


def check_network(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Network, and of a change of one."""
    spec = msgspec.convert(new.get("spec") or {}, NetworkSpec)
    faults = [*rules.check_dns_label("metadata.name", new["metadata"].get("name", "")), *_check_spec(spec)]
    if old is not None:
        before = msgspec.convert(old.get("spec") or {}, NetworkSpec)
        faults.extend(rules.check_immutable("spec.type", str(spec.type), str(before.type)))
    return faults


def _check_spec(spec: NetworkSpec) -> Iterator[FieldError]:
    if spec.type is NetworkType.SWITCH:
        yield from _check_switch(spec)
    elif spec.subnet:
        yield from _check_subnet(spec)
    elif spec.gateway or spec.dhcp_range is not None:
        yield rules.required("spec.subnet", "gateway and dhcpRange need it")
    if spec.mtu and spec.mtu < 1280:
        yield invalid("spec.mtu", spec.mtu, "must be 0 or at least 1280")
    if spec.domain:
        yield from rules.check_dns_subdomain("spec.domain", spec.domain)
    for index, server in enumerate(spec.dns.servers):
        yield from rules.check_ip(f"spec.dns.servers[{index}]", server)
    for index, entry in enumerate(spec.dns.entries):
        yield from rules.check_dns_subdomain(f"spec.dns.entries[{index}].name", entry.name)
        for number, address in enumerate(entry.addresses):
            yield from rules.check_ip(f"spec.dns.entries[{index}].addresses[{number}]", address)
    for index, server in enumerate(spec.ntp):
        yield from rules.check_host(f"spec.ntp[{index}]", server)


def _check_switch(spec: NetworkSpec) -> Iterator[FieldError]:
    """A switch has no addresses of its own: they come from the network that it bridges to."""
    given = {
        "subnet": spec.subnet,
        "gateway": spec.gateway,
        "dhcpRange": spec.dhcp_range,
        "dns": spec.dns.servers or spec.dns.entries,
        "ntp": spec.ntp,
        "domain": spec.domain,
    }
    for name, value in given.items():
        if value:
            yield forbidden(
                f"spec.{name}", "a network of type Switch takes addresses and names from the network outside"
            )


def _check_subnet(spec: NetworkSpec) -> Iterator[FieldError]:
    faults = list(rules.check_subnet("spec.subnet", spec.subnet, subnets.SMALLEST_PREFIX))
    yield from faults
    if faults:
        return
    subnet = subnets.subnet_of(spec.subnet)
    gateway = subnets.default_gateway(subnet)
    if spec.gateway:
        inside = list(_check_inside("spec.gateway", spec.gateway, subnet))
        yield from inside
        if inside:
            return
        gateway = IPv4Address(spec.gateway)
    yield from _check_range(spec, subnet, gateway)


def _check_range(spec: NetworkSpec, subnet: IPv4Network, gateway: IPv4Address) -> Iterator[FieldError]:
    if spec.dhcp_range is None:
        first, last = subnets.default_dhcp_range(subnet)
        if first <= gateway <= last:
            yield invalid(
                "spec.gateway",
                str(gateway),
                f"lies in the DHCP range that is used ({first} to {last}); set spec.dhcpRange",
            )
        return
    faults = [
        *_check_inside("spec.dhcpRange.start", spec.dhcp_range.start, subnet),
        *_check_inside("spec.dhcpRange.end", spec.dhcp_range.end, subnet),
    ]
    yield from faults
    if faults:
        return
    first, last = IPv4Address(spec.dhcp_range.start), IPv4Address(spec.dhcp_range.end)
    if last < first:
        yield invalid("spec.dhcpRange.end", str(last), f"must not be before the start ({first})")
    elif first <= gateway <= last:
        yield invalid("spec.dhcpRange", f"{first}-{last}", f"must not hold the gateway ({gateway})")


def _check_inside(path: str, value: str, subnet: IPv4Network) -> Iterator[FieldError]:
    faults = list(rules.check_ipv4(path, value))
    yield from faults
    if not faults:
        address = IPv4Address(value)
        if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
            yield invalid(path, value, f"must be a host address of the subnet {subnet}")


RESOURCE = eaves_resource(
    Network,
    "networks",
    namespaced=True,
    short_names=("net",),
    columns=(
        Column("Type", "string", at("spec.type"), "Local or Switch."),
        Column("Subnet", "string", at("spec.subnet"), "IPv4 subnet."),
        Column("Uplink", "string", at("spec.uplink.label", "uplink"), "Way to the world."),
        Column("Nodes", "integer", count("status.nodes"), "Nodes that use it."),
    ),
    validate=check_network,
)

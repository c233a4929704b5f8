"""Rules of Networks: what a spec may say. Asked by admission."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from eaves.kinds import rules, subnets
from eaves.kinds.network_spec import NetworkSpec, NetworkType, Route, UplinkProbe
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kube.errors import FieldError


def check_spec(spec: NetworkSpec) -> Iterator[FieldError]:
    if spec.type is NetworkType.SWITCH:
        yield from _check_switch(spec)
    elif spec.subnet:
        yield from _check_subnet(spec)
    elif spec.gateway or spec.dhcp_range is not None:
        yield required("spec.subnet", "gateway and dhcpRange need it")
    yield from _check_probe("spec.uplink.probe", spec.uplink.probe)
    if spec.type is NetworkType.LOCAL:
        yield from _check_local(spec)
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
        "routes": spec.routes,
        "propagateConnectedRoutes": spec.propagate_connected_routes,
        "uplink.probe": spec.uplink.probe,
    }
    for name, value in given.items():
        if value:
            yield forbidden(
                f"spec.{name}", "a network of type Switch takes addresses, names and routes from the network outside"
            )


def _check_local(spec: NetworkSpec) -> Iterator[FieldError]:
    given = {"accessPorts": spec.access_ports, "bpduGuardPort": spec.bpdu_guard_port, "forwardLldp": spec.forward_lldp}
    for name, value in given.items():
        if value:
            yield forbidden(f"spec.{name}", "only a network of type Switch has ports of its own")
    for index, route in enumerate(spec.routes):
        yield from _check_route(f"spec.routes[{index}]", route)


def _check_route(path: str, route: Route) -> Iterator[FieldError]:
    yield from _check_destination(f"{path}.destination", route.destination)
    if bool(route.gateway) == bool(route.uplink):
        yield required(path, "exactly one of gateway and uplink")
    if route.gateway:
        yield from rules.check_ipv4(f"{path}.gateway", route.gateway)
        if route.probe is not None:
            yield forbidden(f"{path}.probe", "only ports are probed; a route by a gateway is fixed")
    yield from _check_probe(f"{path}.probe", route.probe)


def _check_destination(path: str, value: str) -> Iterator[FieldError]:
    try:
        IPv4Network(value)
    except ValueError:
        yield invalid(path, value, "must be an IPv4 subnet in CIDR notation without host bits, (e.g. 10.9.8.0/24)")


def _check_probe(path: str, probe: UplinkProbe | None) -> Iterator[FieldError]:
    if probe is None:
        return
    if not probe.gateway_ping and not probe.host:
        yield required(path, "gatewayPing, a host, or both")
    if probe.host:
        yield from rules.check_host(f"{path}.host", probe.host)
    elif probe.port:
        yield required(f"{path}.host", "port needs it")


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

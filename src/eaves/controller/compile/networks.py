"""Network instances: each Network that an app of the node uses."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.lookup import Lookup
from eaves.kinds import subnets
from eaves.kinds.app import App
from eaves.kinds.app_spec import AppNetwork, networks_of
from eaves.kinds.network import Network, NetworkType
from eaves.kinds.network_spec import NetworkSpec, UplinkProbe
from eaves.wire.pb.config.devcommon_pb2 import Adapter, UUIDandVersion
from eaves.wire.pb.config.netinst_pb2 import (
    IPV4,
    IPRoute,
    NetworkInstanceConfig,
    PortProbe,
    SpanningTreeProtocol,
    VlanAccessPort,
    ZnetInstLocal,
    ZnetInstSwitch,
)
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoNoop
from eaves.wire.pb.evecommon.netcmn_pb2 import (
    CONNECTIVITY_PROBE_METHOD_ICMP,
    CONNECTIVITY_PROBE_METHOD_TCP,
    ConnectivityProbe,
    ProbeEndpoint,
    ZnetStaticDNSEntry,
    ipRange,
    ipspec,
)

_EVERYWHERE = "0.0.0.0/0"


class UsedNetworks:
    """The networks that the node's apps name, checked against each other.

    Two local networks whose subnets overlap cannot be on one node: the older one stays, and whoever uses the younger
    one is held back.
    """

    def __init__(self, apps: Iterable[App], lookup: Lookup) -> None:
        self._good: dict[tuple[str, str], tuple[Network, NetworkInstanceConfig]] = {}
        self._faults: dict[tuple[str, str], HeldBackError] = {}
        names = sorted(
            {(app.metadata.namespace, interface.name) for app in apps for interface in networks_of(app.spec)}
        )
        found = []
        for namespace, name in names:
            try:
                found.append(lookup.network(namespace, name))
            except HeldBackError as error:
                self._faults[namespace, name] = error
        self._subnets: list[tuple[IPv4Network, Network]] = []
        for network in sorted(
            found, key=lambda network: (network.metadata.creation_timestamp or "", network.metadata.uid)
        ):
            self._admit(network)

    def _admit(self, network: Network) -> None:
        key = (network.metadata.namespace, network.metadata.name)
        if network.spec.type is NetworkType.SWITCH:
            self._good[key] = (network, want_network_instance(network))
            return
        try:
            subnet = _subnet(network)
        except HeldBackError as error:
            self._faults[key] = error
            return
        for other_subnet, other in self._subnets:
            if subnet.overlaps(other_subnet):
                self._faults[key] = HeldBackError(
                    "SubnetOverlap",
                    f"Network {network.metadata.name} ({subnet}) overlaps Network {other.metadata.name} ({other_subnet})"
                    f" of namespace {other.metadata.namespace} on this node; give one of them another subnet",
                )
                return
        self._subnets.append((subnet, network))
        self._good[key] = (network, want_network_instance(network))

    def get(self, namespace: str, name: str) -> tuple[Network, NetworkInstanceConfig]:
        """The network and its instance. Raises :class:`HeldBackError` for a missing or impossible one."""
        fault = self._faults.get((namespace, name))
        if fault is not None:
            raise fault
        return self._good[namespace, name]


def _subnet(network: Network) -> IPv4Network:
    if not network.spec.subnet:
        raise HeldBackError(
            "SubnetMissing", f"Network {network.metadata.name} has no subnet yet; it gets one when it is admitted"
        )
    try:
        subnet = subnets.subnet_of(network.spec.subnet)
    except ValueError as error:
        raise HeldBackError(
            "SubnetInvalid", f"Network {network.metadata.name}: {network.spec.subnet} is not a subnet"
        ) from error
    if subnet.prefixlen > subnets.SMALLEST_PREFIX:
        raise HeldBackError(
            "SubnetInvalid",
            f"Network {network.metadata.name}: {subnet} is too small; use /{subnets.SMALLEST_PREFIX} or larger",
        )
    return subnet


def want_network_instance(network: Network) -> NetworkInstanceConfig:
    """The network instance. Its subnet has been checked by :class:`UsedNetworks`."""
    spec = network.spec
    instance = NetworkInstanceConfig(
        uuidandversion=UUIDandVersion(uuid=network.metadata.uid, version=str(network.metadata.generation)),
        displayname=network.metadata.name,
        instType=ZnetInstLocal if spec.type is NetworkType.LOCAL else ZnetInstSwitch,
        activate=True,
        port=Adapter(type=PhyIoNoop, name=spec.uplink.label),
        mtu=spec.mtu,
        disable_flowlog=spec.disable_flowlog,
    )
    if spec.type is NetworkType.LOCAL:
        instance.ipType = IPV4
        instance.ip.CopyFrom(_ip_settings(network))
        instance.dns.extend(
            ZnetStaticDNSEntry(HostName=entry.name, Address=entry.addresses)
            for entry in sorted(spec.dns.entries, key=lambda entry: entry.name)
        )
        instance.static_routes.extend(_routes(spec))
        instance.propagate_connected_routes = spec.propagate_connected_routes
    else:
        instance.forward_lldp = spec.forward_lldp
        if spec.bpdu_guard_port:
            instance.stp.CopyFrom(SpanningTreeProtocol(ports_with_bpdu_guard=spec.bpdu_guard_port))
        instance.vlan_access_ports.extend(
            VlanAccessPort(vlan_id=port.vlan, access_port=port.port)
            for port in sorted(spec.access_ports, key=lambda port: port.port)
        )
    return instance


def _routes(spec: NetworkSpec) -> list[IPRoute]:
    """Static routes by destination. A probe of the uplink rides on a default route, as the device API has it."""
    routes = [
        IPRoute(
            destination_network=route.destination,
            gateway=route.gateway,
            port=route.uplink,
            probe=_probe(route.probe),
            prefer_lower_cost=bool(route.uplink),
        )
        for route in spec.routes
    ]
    if spec.uplink.probe and spec.uplink.label and all(route.destination != _EVERYWHERE for route in spec.routes):
        routes.append(
            IPRoute(
                destination_network=_EVERYWHERE,
                port=spec.uplink.label,
                probe=_probe(spec.uplink.probe),
                prefer_lower_cost=True,
            )
        )
    return sorted(routes, key=lambda route: route.destination_network)


def _probe(probe: UplinkProbe | None) -> PortProbe | None:
    if probe is None:
        return None
    custom = None
    if probe.host:
        method = CONNECTIVITY_PROBE_METHOD_TCP if probe.port else CONNECTIVITY_PROBE_METHOD_ICMP
        endpoint = ProbeEndpoint(host=probe.host, port=probe.port)
        custom = ConnectivityProbe(probe_method=method, probe_endpoint=endpoint)
    return PortProbe(
        enable_gw_ping=probe.gateway_ping, gw_ping_max_cost=probe.gateway_ping_max_cost, custom_probe=custom
    )


def check_vlan(interface: AppNetwork, instance: NetworkInstanceConfig) -> None:
    """Refuses a VLAN where there is none."""
    if interface.vlan is not None and instance.instType != ZnetInstSwitch:
        raise HeldBackError(
            "VlanImpossible", f"network {interface.name} is of type Local, which has no VLANs; leave vlan out"
        )


def _ip_settings(network: Network) -> ipspec:
    spec = network.spec
    subnet = subnets.subnet_of(spec.subnet)
    first, last = subnets.default_dhcp_range(subnet)
    return ipspec(
        subnet=str(subnet),
        gateway=spec.gateway or str(subnets.default_gateway(subnet)),
        domain=spec.domain,
        ntp=spec.ntp[0] if spec.ntp else "",
        more_ntp=spec.ntp[1:],
        dns=spec.dns.servers,
        dhcpRange=ipRange(start=spec.dhcp_range.start, end=spec.dhcp_range.end)
        if spec.dhcp_range
        else ipRange(start=str(first), end=str(last)),
    )


def check_address(interface: AppNetwork, instance: NetworkInstanceConfig) -> None:
    """Refuses a fixed address that the network cannot give: outside the subnet, the gateway's, or one that DHCP gives out."""
    if not interface.address or instance.instType == ZnetInstSwitch:
        return
    settings = instance.ip
    try:
        address = IPv4Address(interface.address)
    except ValueError as error:
        raise HeldBackError(
            "AddressInvalid", f"{interface.address} on network {interface.name} is not an IPv4 address"
        ) from error
    subnet = IPv4Network(settings.subnet)
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise HeldBackError("AddressInvalid", f"{address} is no host address of network {interface.name} ({subnet})")
    if address == IPv4Address(settings.gateway):
        raise HeldBackError("AddressInvalid", f"{address} is the gateway of network {interface.name}")
    start, end = IPv4Address(settings.dhcpRange.start), IPv4Address(settings.dhcpRange.end)
    if start <= address <= end:
        raise HeldBackError(
            "AddressInvalid",
            f"{address} is given out by DHCP on network {interface.name}; choose one outside {start} to {end}",
        )

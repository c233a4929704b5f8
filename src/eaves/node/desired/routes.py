"""Static routes of network instances, and the probes that choose between ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import DesiredNetwork, ObjectKind
from eaves.node.desired.network_model import DesiredRoute, Probe
from eaves.wire.pb.config.netinst_pb2 import IPRoute, PortProbe
from eaves.wire.pb.evecommon.netcmn_pb2 import CONNECTIVITY_PROBE_METHOD_TCP


def parse_routes(routes: Iterable[IPRoute], network: DesiredNetwork, draft: Draft) -> tuple[DesiredRoute, ...]:
    """The routes that can be read; each of the others is a problem of the network. Of two to one place the first counts."""
    found: dict[str, DesiredRoute] = {}
    for route in routes:
        try:
            parsed = _parse_route(route)
        except ObjectError as error:
            message = f"route to {route.destination_network[:64]!r} is not used: {error.message}"
            draft.add(ObjectKind.NETWORK, network.id, network.name, "BadRoute", message)
        else:
            found.setdefault(parsed.destination, parsed)
    return tuple(found.values())


def _parse_route(route: IPRoute) -> DesiredRoute:
    try:
        destination = ipaddress.IPv4Network(route.destination_network.strip(), strict=False)
    except ValueError as error:
        raise ObjectError("that is no IPv4 subnet") from error
    gateway, label = route.gateway.strip(), clean_name(route.port)
    if gateway:
        try:
            gateway = str(ipaddress.IPv4Address(gateway))
        except ValueError as error:
            raise ObjectError(f"its gateway {gateway[:64]!r} is no IPv4 address") from error
    elif not label:
        raise ObjectError("it names neither gateway nor port")
    return DesiredRoute(str(destination), gateway, label, _parse_probe(route.probe), route.prefer_lower_cost)


def _parse_probe(probe: PortProbe) -> Probe:
    endpoint = probe.custom_probe.probe_endpoint
    host = clean_name(endpoint.host)
    is_tcp = probe.custom_probe.probe_method == CONNECTIVITY_PROBE_METHOD_TCP
    port = endpoint.port if is_tcp and 0 < endpoint.port < 65536 else 0
    if is_tcp and not port:
        raise ObjectError("its probe by TCP has no port")
    return Probe(probe.enable_gw_ping, probe.gw_ping_max_cost, host, port)

"""Ports, routes, probes and VLANs of configs, also of those that another controller wrote."""

from __future__ import annotations

import pytest

from eaves.kit.errors import EavesError
from eaves.node.desired.model import DesiredNode
from eaves.node.desired.network_model import AccessPort, DesiredPort, DesiredRoute, Probe
from eaves.node.desired.parse import parse_config
from eaves.testing.device_configs import want_config
from eaves.wire.pb.config import netinst_pb2
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO, SystemAdapter, VlanAdapter
from eaves.wire.pb.config.netinst_pb2 import IPRoute, NetworkInstanceConfig, PortProbe, VlanAccessPort
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock
from eaves.wire.pb.evecommon.netcmn_pb2 import (
    CONNECTIVITY_PROBE_METHOD_ICMP,
    CONNECTIVITY_PROBE_METHOD_TCP,
    ConnectivityProbe,
    ProbeEndpoint,
)


def no_key(_: CipherBlock) -> bytes:
    raise EavesError("no key", code="NoKey")


def parse(config: EdgeDevConfig) -> DesiredNode:
    return parse_config(config, "hash-1", no_key)


def switch_config() -> tuple[EdgeDevConfig, NetworkInstanceConfig]:
    config = want_config()
    network = config.networkInstances[0]
    network.instType = netinst_pb2.ZnetInstSwitch
    network.ClearField("ip")
    return config, network


def test_ports_are_known_by_the_labels_of_their_adapters() -> None:
    config = want_config()
    config.deviceIoList.extend(
        [
            PhysicalIO(logicallabel="lan", phylabel="ETH0", phyaddrs={"ifname": "enp1s0"}),
            PhysicalIO(phylabel="modem", phyaddrs={"Ifname": "wwan0"}),
        ]
    )
    config.vlans.append(VlanAdapter(logicallabel="shop-vlan", interface_name="vlan.7", vlan_id=7))
    config.systemAdapterList.extend(
        [
            SystemAdapter(name="lan", uplink=True),
            SystemAdapter(name="backup", lowerLayerName="modem", uplink=True, cost=999, shared_labels=["mobile", ""]),
            SystemAdapter(name="shop", lowerLayerName="shop-vlan"),
            SystemAdapter(name="ghost", uplink=True),
        ]
    )
    assert parse(config).ports == (
        DesiredPort("lan", "enp1s0"),
        DesiredPort("backup", "wwan0", 255, ("mobile",)),
        DesiredPort("shop", "vlan.7", is_uplink=False),
    )


def test_without_a_mark_every_port_is_an_uplink() -> None:
    config = want_config()
    config.deviceIoList.append(PhysicalIO(logicallabel="lan", phyaddrs={"ifname": "enp1s0"}))
    config.systemAdapterList.append(SystemAdapter(name="lan", freeUplink=True))
    assert [port.is_uplink for port in parse(config).ports] == [True]


def test_a_name_that_no_interface_can_have_is_no_port() -> None:
    config = want_config()
    config.deviceIoList.append(PhysicalIO(logicallabel="lan", phyaddrs={"ifname": "../../etc/passwd"}))
    config.systemAdapterList.append(SystemAdapter(name="lan"))
    assert parse(config).ports == ()


def test_routes_and_their_probes() -> None:
    config = want_config()
    tcp = ConnectivityProbe(
        probe_method=CONNECTIVITY_PROBE_METHOD_TCP, probe_endpoint=ProbeEndpoint(host="probe.example", port=443)
    )
    icmp = ConnectivityProbe(
        probe_method=CONNECTIVITY_PROBE_METHOD_ICMP, probe_endpoint=ProbeEndpoint(host="192.0.2.7", port=1)
    )
    config.networkInstances[0].propagate_connected_routes = True
    config.networkInstances[0].static_routes.extend(
        [
            IPRoute(destination_network="10.50.0.9/16", gateway="10.1.0.9"),
            IPRoute(
                destination_network="0.0.0.0/0",
                port="uplink",
                prefer_lower_cost=True,
                probe=PortProbe(enable_gw_ping=True, gw_ping_max_cost=5, custom_probe=tcp),
            ),
            IPRoute(destination_network="172.16.0.0/12", port="lte", probe=PortProbe(custom_probe=icmp)),
            IPRoute(destination_network="172.16.0.0/12", port="second"),
        ]
    )
    (network,) = parse(config).networks
    assert network.propagate_routes
    assert network.routes == (
        DesiredRoute("10.50.0.0/16", "10.1.0.9", prefer_lower_cost=False),
        DesiredRoute("0.0.0.0/0", "", "uplink", Probe(True, 5, "probe.example", 443)),
        DesiredRoute("172.16.0.0/12", "", "lte", Probe(host="192.0.2.7"), prefer_lower_cost=False),
    )


@pytest.mark.parametrize(
    "route",
    [
        IPRoute(destination_network="2001:db8::/64", port="uplink"),
        IPRoute(destination_network="10.0.0.0/8"),
        IPRoute(destination_network="10.0.0.0/8", gateway="fe80::1"),
        IPRoute(
            destination_network="10.0.0.0/8",
            port="uplink",
            probe=PortProbe(custom_probe=ConnectivityProbe(probe_method=CONNECTIVITY_PROBE_METHOD_TCP)),
        ),
    ],
)
def test_a_route_that_cannot_be_is_a_problem_beside_its_network(route: IPRoute) -> None:
    config = want_config()
    config.networkInstances[0].static_routes.append(route)
    node = parse(config)
    assert node.networks[0].routes == ()
    assert [problem.code for problem in node.problems] == ["BadRoute"]
    assert [app.name for app in node.apps] == ["web"]


def test_vlans_of_a_switch_and_of_interfaces_on_it() -> None:
    config, network = switch_config()
    network.stp.ports_with_bpdu_guard = "eth2"
    network.forward_lldp = True
    network.vlan_access_ports.append(VlanAccessPort(vlan_id=100, access_port="eth1"))
    config.apps[0].interfaces[0].access_vlan_id = 100
    node = parse(config)
    (parsed,) = node.networks
    assert (parsed.access_ports, parsed.bpdu_guard_label, parsed.forward_lldp) == (
        (AccessPort("eth1", 100),),
        "eth2",
        True,
    )
    assert node.apps[0].interfaces[0].vlan == 100


@pytest.mark.parametrize("number", [1, 4094, 70000])
def test_impossible_vlans_are_refused(number: int) -> None:
    config, _ = switch_config()
    config.apps[0].interfaces[0].access_vlan_id = number
    assert [problem.code for problem in parse(config).problems] == ["BadVlan"]


def test_a_local_network_has_no_vlans() -> None:
    config = want_config()
    config.apps[0].interfaces[0].access_vlan_id = 100
    assert [problem.code for problem in parse(config).problems] == ["BadVlan"]

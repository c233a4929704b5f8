"""Networks as network instances that any device accepts."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.networks import want_network_instance
from eaves.kinds import network
from eaves.testing.objects import make_network, uid_of
from eaves.wire.pb.config.netinst_pb2 import IPV4, NetworkInstanceConfig, ZnetInstLocal, ZnetInstSwitch


def instance(**spec: Any) -> NetworkInstanceConfig:
    return want_network_instance(network.decode(make_network(**spec)))


def test_a_local_network_has_all_that_a_device_needs() -> None:
    config = instance()
    assert config.uuidandversion.uuid == uid_of("Network", "default")
    assert (config.instType, config.ipType, config.activate) == (ZnetInstLocal, IPV4, True)
    assert config.port.name == "uplink"
    assert (config.ip.subnet, config.ip.gateway) == ("10.160.1.0/24", "10.160.1.1")
    assert (config.ip.dhcpRange.start, config.ip.dhcpRange.end) == ("10.160.1.64", "10.160.1.254")
    # The first flow log of a device cuts open connections, so it is off unless asked for.
    assert config.disable_flowlog


def test_what_is_written_is_sent() -> None:
    config = instance(
        gateway="10.160.1.254",
        dhcpRange={"start": "10.160.1.10", "end": "10.160.1.20"},
        uplink={"label": ""},
        dns={
            "servers": ["192.0.2.53"],
            "entries": [{"name": "z", "addresses": ["192.0.2.2"]}, {"name": "a", "addresses": ["192.0.2.1"]}],
        },
        ntp=["192.0.2.123", "192.0.2.124"],
        domain="shop.example",
        mtu=1400,
        disableFlowlog=False,
    )
    assert config.port.name == ""
    assert (config.ip.gateway, config.ip.dhcpRange.start, config.ip.dhcpRange.end) == (
        "10.160.1.254",
        "10.160.1.10",
        "10.160.1.20",
    )
    assert (list(config.ip.dns), config.ip.ntp, list(config.ip.more_ntp)) == (
        ["192.0.2.53"],
        "192.0.2.123",
        ["192.0.2.124"],
    )
    assert [entry.HostName for entry in config.dns] == ["a", "z"]
    assert (config.ip.domain, config.mtu, config.disable_flowlog) == ("shop.example", 1400, False)


def test_a_switch_has_no_addresses() -> None:
    config = instance(type="Switch", subnet="", uplink={"label": "eth1"})
    assert config.instType == ZnetInstSwitch
    assert not config.HasField("ip")
    assert config.port.name == "eth1"


def test_routes_and_the_probe_of_the_uplink_are_sent_as_routes() -> None:
    config = instance(
        uplink={
            "label": "wan",
            "probe": {"gatewayPing": True, "gatewayPingMaxCost": 9, "host": "192.0.2.7", "port": 443},
        },
        routes=[
            {"destination": "172.16.0.0/12", "uplink": "lte"},
            {"destination": "10.50.0.0/16", "gateway": "10.160.1.9"},
        ],
        propagateConnectedRoutes=True,
    )
    default, by_app, by_port = config.static_routes
    assert (default.destination_network, default.port, default.gateway) == ("0.0.0.0/0", "wan", "")
    assert (default.probe.enable_gw_ping, default.probe.gw_ping_max_cost) == (True, 9)
    endpoint = default.probe.custom_probe.probe_endpoint
    assert (endpoint.host, endpoint.port) == ("192.0.2.7", 443)
    assert (by_app.destination_network, by_app.gateway, by_app.prefer_lower_cost) == (
        "10.50.0.0/16",
        "10.160.1.9",
        False,
    )
    assert (by_port.port, by_port.prefer_lower_cost, by_port.HasField("probe")) == ("lte", True, False)
    assert config.propagate_connected_routes


def test_a_default_route_of_ones_own_stands_for_the_uplink() -> None:
    config = instance(
        uplink={"label": "wan", "probe": {"gatewayPing": True}},
        routes=[{"destination": "0.0.0.0/0", "gateway": "10.160.1.9"}],
    )
    assert [route.gateway for route in config.static_routes] == ["10.160.1.9"]


def test_a_switch_says_what_its_ports_carry() -> None:
    config = instance(
        type="Switch",
        subnet="",
        accessPorts=[{"port": "eth2", "vlan": 20}, {"port": "eth1", "vlan": 10}],
        bpduGuardPort="eth2",
        forwardLldp=True,
    )
    assert [(port.access_port, port.vlan_id) for port in config.vlan_access_ports] == [("eth1", 10), ("eth2", 20)]
    assert (config.stp.ports_with_bpdu_guard, config.forward_lldp) == ("eth2", True)

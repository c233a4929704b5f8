"""Which ports a config describes, and which it leaves to the device."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.objects import make_edgenode
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon.netcmn_pb2 import V4, Client, Static

EVE = {"eve": "14.5.0"}
ETH0 = {"name": "eth0", "interface": "eth0", "up": True, "management": True, "medium": "Ethernet", "dhcp": True}


def compile_ports(status: dict[str, Any] | None = None, **spec: Any) -> EdgeDevConfig:
    return compile_node(NodeInputs(edgenode=make_edgenode(status=status, **spec))).config


def test_an_eaves_node_keeps_its_own_network() -> None:
    assert not compile_ports({"versions": {"daemon": "0.1.0"}, "ports": [ETH0]}).systemAdapterList
    assert not compile_ports().systemAdapterList


def test_an_eve_device_gets_the_ports_that_it_reported() -> None:
    config = compile_ports(
        {"versions": EVE, "ports": [ETH0, {**ETH0, "name": "eth1", "interface": "eth1", "management": False}]}
    )
    assert [(adapter.name, adapter.uplink, adapter.lowerLayerName) for adapter in config.systemAdapterList] == [
        ("eth0", True, "eth0"),
        ("eth1", False, "eth1"),
    ]
    networks = {network.id: network for network in config.networks}
    assert all(networks[adapter.networkUUID].ip.dhcp == Client for adapter in config.systemAdapterList)
    assert all(network.type == V4 for network in config.networks)
    assert [dict(io.phyaddrs) for io in config.deviceIoList] == [{"ifname": "eth0"}, {"ifname": "eth1"}]


@pytest.mark.parametrize("change", [{"dhcp": False}, {"medium": "WiFi"}, {"management": False}])
def test_ports_that_would_not_be_described_in_full_are_left_alone(change: dict[str, Any]) -> None:
    assert not compile_ports({"versions": EVE, "ports": [ETH0 | change]}).systemAdapterList


def test_uplinks_of_the_spec_are_sent_to_any_device() -> None:
    config = compile_ports(
        uplinks=[
            {
                "name": "lan",
                "interface": "enp1s0",
                "addresses": ["192.0.2.10/24"],
                "gateway": "192.0.2.1",
                "dnsServers": ["192.0.2.53"],
                "ntpServers": ["192.0.2.123", "time.example"],
            },
            {"name": "backup", "interface": "enp2s0", "cost": 20, "management": False, "labels": ["mobile"]},
        ]
    )
    backup, lan = config.systemAdapterList
    assert (backup.name, backup.cost, backup.uplink, backup.freeUplink) == ("backup", 20, False, False)
    assert (list(backup.shared_labels), list(lan.shared_labels)) == (["mobile"], [])
    assert (lan.name, lan.addr, lan.uplink, lan.freeUplink) == ("lan", "192.0.2.10", True, True)
    settings = {network.id: network.ip for network in config.networks}[lan.networkUUID]
    assert (settings.dhcp, settings.subnet, settings.gateway, list(settings.dns)) == (
        Static,
        "192.0.2.0/24",
        "192.0.2.1",
        ["192.0.2.53"],
    )
    assert (settings.ntp, list(settings.more_ntp)) == ("192.0.2.123", ["time.example"])

"""Ports of a config as the node understands them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from eaves.node.desired.port_model import (
    Addressing,
    BondMode,
    BondSetup,
    Families,
    Medium,
    PortsSetup,
    ProxyScheme,
    ProxyServer,
    ProxySetup,
    VlanSetup,
    WifiNetwork,
    WifiScheme,
)
from eaves.node.desired.port_setup import extract_port_sections, parse_contexts, parse_port_sections
from eaves.node.desired.secret import Secret
from eaves.testing.port_sections import SectionsMaker
from eaves.wire.errors import CipherError
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO
from eaves.wire.pb.config.netconfig_pb2 import CellularAccessPoint, CellularConfig, WifiConfig, WirelessConfig
from eaves.wire.pb.eaves.extension_pb2 import WifiExtension
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, CipherContext, EncryptionBlock


def decrypt(block: CipherBlock) -> bytes:
    return block.cipherData


def parse(maker: SectionsMaker) -> PortsSetup:
    return parse_port_sections(maker.sections(), decrypt)


def codes(setup: PortsSetup) -> list[str]:
    return [problem.code for problem in setup.problems]


def one(**network: Any) -> SectionsMaker:
    maker = SectionsMaker().hardware("eth0").dhcp("eth0")
    for name, value in network.items():
        target = maker.config.networks[0]
        if hasattr(value, "DESCRIPTOR"):
            getattr(target, name).CopyFrom(value)
        else:
            setattr(target, name, value)
    return maker


def test_dhcp_and_static() -> None:
    maker = SectionsMaker().hardware("eth0", "eth1").dhcp("eth0", cost=300)
    maker.static("eth1", "192.0.2.10", "192.0.2.0/24", "192.0.2.1", uplink=False)
    setup = parse(maker)
    first, second = setup.ports
    assert (first.ip.addressing, first.cost, first.is_management) == (Addressing.DHCP, 255, True)
    assert (second.ip.addressing, second.ip.address, second.ip.gateway) == (
        Addressing.STATIC,
        "192.0.2.10/24",
        "192.0.2.1",
    )
    assert (second.is_management, setup.problems) == (False, ())


def test_a_config_without_ports_leaves_them_alone() -> None:
    assert extract_port_sections(EdgeDevConfig()) == b""
    l2_only = SectionsMaker().hardware("eth0")
    l2_only.config.systemAdapterList.add(name="eth0", lowerLayerName="eth0")
    assert l2_only.sections() == b""


def test_ports_for_switches_alone_are_not_set_up() -> None:
    maker = one()
    maker.config.systemAdapterList.add(name="eth9", lowerLayerName="eth9")
    assert [port.label for port in parse(maker).ports] == ["eth0"]


def test_sections_are_of_the_ports_alone() -> None:
    maker = one()
    before = maker.sections()
    maker.config.deviceIoList.append(PhysicalIO(ptype=common.PhyIoCOM, logicallabel="com1"))
    maker.config.cipherContexts.append(CipherContext(contextId="of another secret"))
    maker.config.device_name = "other"
    assert maker.sections() == before


def test_sections_that_are_none() -> None:
    assert parse_port_sections(b"\xff\xff", decrypt) == PortsSetup()
    assert parse_contexts(b"\xff\xff") == []


@pytest.mark.parametrize(
    ("kind", "families"),
    [
        (netcmn.V4, Families.IPV4),
        (netcmn.NETWORKTYPENOOP, Families.IPV4),
        (netcmn.V6, Families.IPV6),
        (netcmn.V4Only, Families.IPV4_ONLY),
        (netcmn.V6Only, Families.IPV6_ONLY),
        (netcmn.DualV4V6, Families.BOTH),
    ],
)
def test_families(kind: netcmn.NetworkType.ValueType, families: Families) -> None:
    assert parse(one(type=kind)).ports[0].ip.families is families


def test_a_vlan_and_a_bond() -> None:
    maker = SectionsMaker().hardware("eth0", "eth1")
    maker.bond("bond0", "eth0", "eth1", bond_mode=netcmn.BOND_MODE_802_3AD, lacp_rate=netcmn.LACP_RATE_FAST)
    maker.vlan("bond0.10", "bond0", 10).dhcp("bond0.10")
    setup = parse(maker)
    assert setup.bonds == (BondSetup("bond0", ("eth0", "eth1"), BondMode.LACP, fast_lacp=True),)
    assert setup.vlans == (VlanSetup("bond0.10", "bond0", 10),)
    assert [port.interface for port in setup.ports] == ["bond0.10"]


@pytest.mark.parametrize(
    ("maker", "expected"),
    [
        (SectionsMaker().dhcp("eth0"), ["PortUnknown"]),
        (SectionsMaker().hardware("eth0").dhcp("eth0", lowerLayerName="eth1"), ["PortUnknown"]),
        (SectionsMaker().hardware("eth0").static("eth0", "192.0.3.1", "192.0.2.0/24", ""), ["PortAddressInvalid"]),
        (SectionsMaker().hardware("eth0").static("eth0", "", "192.0.2.0/24", ""), ["PortAddressInvalid"]),
        (SectionsMaker().hardware("eth0").static("eth0", "nonsense", "192.0.2.0/24", ""), ["PortAddressInvalid"]),
        (SectionsMaker().hardware("eth0").static("eth0", "192.0.2.2", "192.0.2.0/24", "x"), ["PortAddressInvalid"]),
        (one(mtu=500), ["PortMtuInvalid"]),
        (SectionsMaker().hardware("eth0").vlan("v", "eth0", 5000).dhcp("v"), ["VlanInvalid", "PortUnknown"]),
        (SectionsMaker().hardware("eth0").vlan("a/b", "eth0", 5), []),
        (SectionsMaker().hardware("eth0").vlan("v", "eth1", 5).dhcp("v"), ["PortUnknown", "PortUnknown"]),
        (SectionsMaker().bond("b").dhcp("b"), ["BondInvalid", "PortUnknown"]),
        (SectionsMaker().bond("b", "eth5").dhcp("b"), ["PortUnknown", "PortUnknown"]),
        (one(entProxy=netcmn.ProxyConfig(pacfile="no base64!")), ["ProxyInvalid"]),
        (one(entProxy=netcmn.ProxyConfig(proxies=[netcmn.ProxyServer(server="", port=1)])), ["ProxyInvalid"]),
    ],
)
def test_what_cannot_be_is_a_problem_and_the_rest_goes_on(maker: SectionsMaker, expected: list[str]) -> None:
    maker.hardware("good").dhcp("good")
    setup = parse(maker)
    assert codes(setup) == [*expected] or (expected == [] and codes(setup) == ["InterfaceNameInvalid"])
    assert "good" in [port.label for port in setup.ports]


def test_proxies() -> None:
    config = netcmn.ProxyConfig(
        proxies=[
            netcmn.ProxyServer(proto=netcmn.PROXY_HTTPS, server="http://proxy.example/", port=8080),
            netcmn.ProxyServer(proto=netcmn.PROXY_OTHER, server="ignored"),
        ],
        exceptions="localhost, .local,,10.0.0.0/8",
        proxyCertPEM=[b"pem"],
        networkProxyEnable=True,
        networkProxyURL="http://x/wpad.dat",
        pacfile=base64.b64encode(b"function").decode(),
    )
    assert parse(one(entProxy=config)).ports[0].proxy == ProxySetup(
        servers=(ProxyServer(ProxyScheme.HTTPS, "proxy.example", 8080),),
        exceptions=("localhost", ".local", "10.0.0.0/8"),
        pac="function",
        discover=True,
        pac_url="http://x/wpad.dat",
        ca_pems=("pem",),
    )


def radio(kind: common.PhyIoType.ValueType, wireless: WirelessConfig) -> SectionsMaker:
    maker = one(wireless=wireless)
    maker.config.deviceIoList[0].ptype = kind
    return maker


def sealed(**secrets: Any) -> CipherBlock:
    return CipherBlock(cipherContextId="context-1", cipherData=EncryptionBlock(**secrets).SerializeToString())


def test_wireless_networks() -> None:
    wireless = WirelessConfig(
        type=netcmn.WiFi,
        wifiCfg=[
            WifiConfig(wifiSSID="shop", keyScheme=netcmn.WPAPSK, cipherData=sealed(wifiPassword="psk"), priority=4),
            WifiConfig(
                wifiSSID="office",
                keyScheme=netcmn.WPAEAP,
                cipherData=sealed(wifiUserName="till", wifiPassword="secret"),
                eaves=WifiExtension(ca_pem="PEM", server_name="radius.example"),
            ),
        ],
    )
    maker = radio(common.PhyIoNetWLAN, wireless)
    maker.config.cipherContexts.append(CipherContext(contextId="context-1"))
    (port,) = parse(maker).ports
    assert port.medium is Medium.WIFI
    assert port.wifi == (
        WifiNetwork("shop", WifiScheme.WPA_PSK, "", Secret("psk"), 4),
        WifiNetwork("office", WifiScheme.WPA_EAP, "till", Secret("secret"), ca_pem="PEM", server_name="radius.example"),
    )
    assert "psk" not in repr(port).replace("wpa-psk", "")
    assert [context.contextId for context in parse_contexts(maker.sections())] == ["context-1"]


@pytest.mark.parametrize(
    "wireless",
    [
        WirelessConfig(),
        WirelessConfig(wifiCfg=[WifiConfig(wifiSSID="")]),
        WirelessConfig(wifiCfg=[WifiConfig(wifiSSID="x" * 33)]),
        WirelessConfig(wifiCfg=[WifiConfig(wifiSSID="x", keyScheme=9)]),  # type: ignore[arg-type]  # from a newer controller
    ],
)
def test_wireless_networks_that_are_none(wireless: WirelessConfig) -> None:
    setup = parse(radio(common.PhyIoNetWLAN, wireless))
    assert (codes(setup), setup.ports) == (["WifiInvalid"], ())


def test_a_secret_that_cannot_be_opened_is_a_problem() -> None:
    def refuse(_: CipherBlock) -> bytes:
        raise CipherError("no such key")

    wireless = WirelessConfig(wifiCfg=[WifiConfig(wifiSSID="shop", keyScheme=netcmn.WPAPSK, cipherData=sealed())])
    setup = parse_port_sections(radio(common.PhyIoNetWLAN, wireless).sections(), refuse)
    assert codes(setup) == ["DecryptionFailed"]


def test_the_access_point_of_the_sim_card_in_use() -> None:
    points = [
        CellularAccessPoint(sim_slot=1, apn="one"),
        CellularAccessPoint(
            sim_slot=2,
            apn="two",
            attach_apn="attach",
            forbid_roaming=True,
            ip_type=netcmn.CELLULAR_IP_TYPE_IPV6,
            cipher_data=sealed(cellular_net_username="user", cellular_net_password="secret"),
        ),
    ]
    wireless = WirelessConfig(
        type=netcmn.Cellular, cellularCfg=[CellularConfig(access_points=points, activated_sim_slot=2)]
    )
    (port,) = parse(radio(common.PhyIoNetWWAN, wireless)).ports
    cellular = port.cellular
    assert (port.medium, cellular.apn, cellular.username, cellular.password.reveal()) == (
        Medium.CELLULAR,
        "two",
        "user",
        "secret",
    )
    assert (cellular.attach_apn, cellular.forbid_roaming, cellular.families) == ("attach", True, Families.IPV6_ONLY)


def test_the_pin_of_a_card_and_one_that_would_cost_a_try_in_vain() -> None:
    def parse_pin(pin: str) -> PortsSetup:
        block = EncryptionBlock()
        block.eaves.sim_pin = pin
        sealed = CipherBlock(cipherData=block.SerializeToString())
        points = [CellularAccessPoint(cipher_data=sealed)]
        wireless = WirelessConfig(type=netcmn.Cellular, cellularCfg=[CellularConfig(access_points=points)])
        return parse(radio(common.PhyIoNetWWAN, wireless))

    assert parse_pin("4711").ports[0].cellular.pin.reveal() == "4711"
    (problem,) = parse_pin("47 11").problems
    assert "must have 4 to 8 digits" in problem.message
    assert "47 11" not in problem.message


def test_an_old_controller_names_the_access_point_alone() -> None:
    wireless = WirelessConfig(type=netcmn.Cellular, cellularCfg=[CellularConfig(APN="old")])
    assert parse(radio(common.PhyIoNetWWAN, wireless)).ports[0].cellular.apn == "old"


def shared(maker: SectionsMaker) -> list[tuple[str, str]]:
    return [(bridge.interface, bridge.cable) for bridge in parse(maker).bridges]


@pytest.mark.parametrize("label", ["eth0", "uplink", "freeuplink", "all", "floor"])
def test_a_port_with_an_address_that_a_switch_leads_to_is_a_bridge(label: str) -> None:
    maker = one().switch(label)
    maker.config.systemAdapterList[0].shared_labels.append("floor")
    setup = parse(maker)
    assert shared(maker) == [("eaves-eth0", "eth0")]
    assert [(port.label, port.interface) for port in setup.ports] == [("eth0", "eaves-eth0")]


def test_what_else_a_switch_is_called_changes_no_port() -> None:
    before = one().switch("eth0").sections()
    maker = one().switch("eth0")
    maker.config.networkInstances[0].displayname = "floor"
    maker.config.networkInstances[0].uuidandversion.version = "7"
    assert maker.sections() == before
    assert before != one().sections()


def test_a_long_name_of_a_cable_makes_a_short_one_of_its_bridge() -> None:
    maker = SectionsMaker().hardware("enp0s31f6u1i2").dhcp("enp0s31f6u1i2").switch("enp0s31f6u1i2")
    ((bridge, _),) = shared(maker)
    assert bridge.startswith("eaves-")
    assert len(bridge) <= 15


def test_only_a_lone_cable_with_an_address_is_shared() -> None:
    assert not shared(one())
    assert not shared(one().switch("eth7"))
    assert not shared(one().switch(""))
    assert not shared(SectionsMaker().hardware("eth0", "eth1").dhcp("eth0").dhcp("eth1").switch("uplink"))
    assert not shared(
        SectionsMaker().hardware("eth0", "eth1").bond("bond0", "eth0", "eth1").dhcp("bond0").switch("bond0")
    )
    assert not shared(one().vlan("office", "eth0", 10).switch("eth0"))
    assert not shared(one().vlan("office", "eth0", 10).dhcp("office").switch("office"))
    without = one().switch("eth0")
    without.config.networks[0].ip.dhcp = netcmn.DHCPNone
    assert not shared(without)
    radio = one().switch("eth0")
    radio.config.deviceIoList[0].ptype = common.PhyIoNetWLAN
    assert not shared(radio)


def test_a_switch_that_would_change_the_nodes_own_way_out_shares_no_port() -> None:
    tagged, guarded, sized, told = (one().switch("eth0") for _ in range(4))
    network = tagged.config.networkInstances[0]
    network.uuidandversion.uuid = "net"
    card = tagged.config.apps.add().interfaces.add(networkId="net")
    assert shared(tagged)
    card.access_vlan_id = 20
    guarded.config.networkInstances[0].stp.ports_with_bpdu_guard = "eth0"
    sized.config.networkInstances[0].mtu = 1400
    told.config.networkInstances[0].forward_lldp = True
    assert not any(shared(maker) for maker in (tagged, guarded, sized, told))
    tagged.switch("eth0")
    assert shared(tagged), "another switch without VLANs may have it"

"""Ports as connection profiles of NetworkManager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from eaves.node.desired.port_model import (
    Addressing,
    BondMode,
    BondSetup,
    BridgeSetup,
    CellularSetup,
    Families,
    IpSetup,
    Medium,
    PortSetup,
    PortsSetup,
    VlanSetup,
    WifiNetwork,
    WifiScheme,
)
from eaves.node.desired.secret import Secret
from eaves.node.ports.model import Profile
from eaves.node.ports.render import render_profiles, want_metric

KEY = b"k" * 32
STATIC = IpSetup(
    Addressing.STATIC, address="192.0.2.10/24", gateway="192.0.2.1", dns_servers=("192.0.2.53", "2001:db8::53")
)


def render(*ports: PortSetup, key: bytes = KEY, **layers: Any) -> dict[str, Profile]:
    profiles = render_profiles(PortsSetup(ports, **layers), "eaves", key)
    return {profile.name: profile for profile in profiles}


def section(profile: Profile, name: str) -> Mapping[str, Any]:
    return profile.settings[name]


def test_a_port_by_dhcp() -> None:
    profile = render(PortSetup("wan", "enp1s0"))["eaves-wan"]
    assert (profile.interface, profile.label, profile.is_software) == ("enp1s0", "wan", False)
    connection = section(profile, "connection")
    assert (connection["type"], connection["interface-name"], connection["uuid"]) == (
        "802-3-ethernet",
        "enp1s0",
        profile.uuid,
    )
    assert (connection["autoconnect"], connection["autoconnect-retries"]) == (True, 0)
    assert section(profile, "user") == {"data": {"eaves.instance": "eaves"}}
    assert section(profile, "ipv4") == {"method": "auto", "may-fail": False, "route-metric": 100, "dhcp-timeout": 45}
    assert section(profile, "ipv6") == {"method": "auto", "may-fail": True, "route-metric": 100}


def test_a_static_port() -> None:
    profile = render(PortSetup("wan", "enp1s0", ip=STATIC, cost=2, mtu=1400))["eaves-wan"]
    assert section(profile, "ipv4") == {
        "method": "manual",
        "may-fail": False,
        "route-metric": 120,
        "address-data": [{"address": "192.0.2.10", "prefix": 24}],
        "gateway": "192.0.2.1",
        "dns-data": ["192.0.2.53"],
    }
    assert section(profile, "ipv6")["dns-data"] == ["2001:db8::53"]
    assert section(profile, "802-3-ethernet") == {"mtu": 1400}


def test_a_static_port_of_ipv6_has_no_ipv4() -> None:
    ip = IpSetup(Addressing.STATIC, Families.IPV6, "2001:db8::7/64", "fe80::1")
    profile = render(PortSetup("wan", "enp1s0", ip=ip))["eaves-wan"]
    assert section(profile, "ipv4") == {"method": "disabled"}
    assert section(profile, "ipv6")["address-data"] == [{"address": "2001:db8::7", "prefix": 64}]
    assert section(profile, "ipv6")["gateway"] == "fe80::1"


@pytest.mark.parametrize(
    ("families", "ipv4", "ipv6"),
    [
        (Families.IPV4, ("auto", False), ("auto", True)),
        (Families.IPV4_ONLY, ("auto", False), ("disabled", None)),
        (Families.IPV6, ("auto", True), ("auto", False)),
        (Families.IPV6_ONLY, ("disabled", None), ("auto", False)),
        (Families.BOTH, ("auto", True), ("auto", True)),
    ],
)
def test_which_family_a_port_must_have(
    families: Families, ipv4: tuple[str, bool | None], ipv6: tuple[str, bool | None]
) -> None:
    profile = render(PortSetup("wan", "enp1s0", ip=IpSetup(families=families)))["eaves-wan"]
    found = [(section(profile, name)["method"], section(profile, name).get("may-fail")) for name in ("ipv4", "ipv6")]
    assert found == [ipv4, ipv6]


def test_what_dhcp_offers_may_be_left_aside() -> None:
    ip = IpSetup(dns_servers=("192.0.2.53",), domain="shop.example", ignores_dns=True, ignores_gateways=True)
    ipv4 = section(render(PortSetup("wan", "enp1s0", ip=ip))["eaves-wan"], "ipv4")
    assert (ipv4["ignore-auto-dns"], ipv4["ignore-auto-routes"], ipv4["dns-search"]) == (True, True, ["shop.example"])


def test_a_port_without_addresses() -> None:
    profile = render(PortSetup("lan", "enp2s0", ip=IpSetup(Addressing.NONE)))["eaves-lan"]
    assert section(profile, "ipv4") == section(profile, "ipv6") == {"method": "disabled"}


def test_costs_become_metrics_that_differ() -> None:
    ports = [
        PortSetup("a", "eth0", cost=1),
        PortSetup("b", "eth1", cost=1),
        PortSetup("c", "eth2"),
        PortSetup("d", "eth3", cost=255),
    ]
    metrics = {name: section(profile, "ipv4")["route-metric"] for name, profile in render(*ports).items()}
    assert metrics == {"eaves-c": 100, "eaves-a": 110, "eaves-b": 111, "eaves-d": 2650}
    assert want_metric(1, 50) < want_metric(2, 0)


def test_a_vlan_stands_on_a_port_that_is_up_without_addresses() -> None:
    vlan = VlanSetup("enp1s0.10", "enp1s0", 10)
    found = render(PortSetup("office", "enp1s0.10"), vlans=(vlan,))
    assert list(found) == ["eaves-office", "eaves-enp1s0"]
    assert section(found["eaves-office"], "vlan") == {"interface-name": "enp1s0.10", "parent": "enp1s0", "id": 10}
    assert found["eaves-office"].is_software
    assert section(found["eaves-enp1s0"], "ipv4") == {"method": "disabled"}
    assert found["eaves-enp1s0"].label == ""


def test_a_vlan_beside_addresses_of_the_port_itself() -> None:
    found = render(
        PortSetup("lan", "enp1s0"), PortSetup("office", "vlan10"), vlans=(VlanSetup("vlan10", "enp1s0", 10),)
    )
    assert sorted(found) == ["eaves-lan", "eaves-office"]
    assert section(found["eaves-lan"], "ipv4")["method"] == "auto"


def test_layers_that_no_port_uses_are_not_made() -> None:
    bond = BondSetup("bond0", ("eth1", "eth2"))
    assert sorted(render(PortSetup("wan", "eth0"), bonds=(bond,), vlans=(VlanSetup("v", "eth1", 5),))) == ["eaves-wan"]


def test_a_bond_and_its_members() -> None:
    found = render(PortSetup("lan", "bond0"), bonds=(BondSetup("bond0", ("eth0", "eth1")),))
    assert list(found) == ["eaves-lan", "eaves-lan-eth0", "eaves-lan-eth1"]
    assert section(found["eaves-lan"], "bond")["options"] == {
        "mode": "active-backup",
        "miimon": "100",
        "primary": "eth0",
    }
    member = section(found["eaves-lan-eth1"], "connection")
    assert (member["master"], member["slave-type"], member["interface-name"]) == ("bond0", "bond", "eth1")


@pytest.mark.parametrize(
    ("bond", "options"),
    [
        (
            BondSetup("b", ("eth0",), BondMode.LACP, fast_lacp=True),
            {"mode": "802.3ad", "miimon": "100", "lacp_rate": "fast"},
        ),
        (
            BondSetup("b", ("eth0",), BondMode.BALANCE_XOR, up_delay_ms=200, down_delay_ms=300),
            {"mode": "balance-xor", "miimon": "100", "updelay": "200", "downdelay": "300"},
        ),
        (
            BondSetup("b", ("eth0",), BondMode.BALANCE_RR, arp_interval_ms=500, arp_targets=("192.0.2.1", "192.0.2.2")),
            {"mode": "balance-rr", "arp_interval": "500", "arp_ip_target": "192.0.2.1,192.0.2.2"},
        ),
    ],
)
def test_options_of_bonds(bond: BondSetup, options: dict[str, str]) -> None:
    assert section(render(PortSetup("lan", "b"), bonds=(bond,))["eaves-lan"], "bond")["options"] == options


def test_a_vlan_of_a_bond() -> None:
    found = render(
        PortSetup("office", "bond0.7"),
        bonds=(BondSetup("bond0", ("eth0", "eth1")),),
        vlans=(VlanSetup("bond0.7", "bond0", 7),),
    )
    assert list(found) == ["eaves-bond0", "eaves-bond0-eth0", "eaves-bond0-eth1", "eaves-office"]
    assert section(found["eaves-bond0"], "ipv4") == {"method": "disabled"}


def test_wireless_networks_by_priority() -> None:
    networks = (
        WifiNetwork("shop", WifiScheme.WPA_PSK, password=Secret("secret-psk"), priority=5),
        WifiNetwork("office", WifiScheme.WPA_EAP, "till-17", Secret("secret-eap")),
        WifiNetwork("guests", WifiScheme.OPEN),
    )
    found = render(PortSetup("wifi", "wlan0", Medium.WIFI, wifi=networks))
    shop, office, guests = found.values()
    assert section(shop, "802-11-wireless")["ssid"] == b"shop"
    assert section(shop, "802-11-wireless-security") == {"key-mgmt": "wpa-psk", "psk": "secret-psk"}
    assert section(shop, "connection")["autoconnect-priority"] == 5
    assert section(office, "802-1x") == {
        "eap": ["peap"],
        "phase2-auth": "mschapv2",
        "identity": "till-17",
        "password": "secret-eap",
    }
    assert "802-11-wireless-security" not in guests.settings
    assert {profile.label for profile in found.values()} == {"wifi"}


def test_who_asks_for_a_password_is_checked() -> None:
    network = WifiNetwork("office", WifiScheme.WPA_EAP, "u", Secret("s"), ca_pem="PEM", server_name="radius.example")
    (office,) = render(PortSetup("wifi", "wlan0", Medium.WIFI, wifi=(network,))).values()
    login = section(office, "802-1x")
    assert (login["ca-cert"], login["domain-suffix-match"]) == (b"PEM", "radius.example")


def test_a_modem() -> None:
    cellular = CellularSetup("internet.example", "user", Secret("secret"), "attach.example", forbid_roaming=True)
    profile = render(PortSetup("lte", "wwan0", Medium.CELLULAR, cellular=cellular))["eaves-lte"]
    assert (profile.interface, "interface-name" in section(profile, "connection")) == ("", False)
    assert section(profile, "gsm") == {
        "apn": "internet.example",
        "username": "user",
        "password": "secret",
        "home-only": True,
        "initial-eps-bearer-configure": True,
        "initial-eps-bearer-apn": "attach.example",
    }


def test_a_modem_that_knows_its_operator() -> None:
    profile = render(PortSetup("lte", "wwan0", Medium.CELLULAR))["eaves-lte"]
    assert section(profile, "gsm") == {"home-only": False, "auto-config": True}


def test_the_name_depends_on_the_content_and_on_the_key_of_the_node() -> None:
    def uuid_of(cost: int, key: bytes = KEY) -> str:
        return render(PortSetup("wan", "eth0", cost=cost), key=key)["eaves-wan"].uuid

    assert uuid_of(1) == uuid_of(1)
    assert uuid_of(1) != uuid_of(2)
    assert uuid_of(1) != uuid_of(1, b"x" * 32)


def test_no_secret_is_printed() -> None:
    networks = (WifiNetwork("shop", password=Secret("secret-psk")),)
    profiles = render(PortSetup("wifi", "wlan0", Medium.WIFI, wifi=networks))
    assert "secret-psk" not in repr(profiles) + str(profiles)


def test_a_shared_port_is_a_bridge_with_the_hardware_address_of_its_cable() -> None:
    setup = PortsSetup(
        (PortSetup("wan", "eaves-eth0", ip=STATIC, mtu=1400), PortSetup("lan", "eth1")),
        bridges=(BridgeSetup("eaves-eth0", "eth0"),),
    )
    mac = "52:54:00:00:00:01"
    found = render_profiles(setup, "eaves", KEY, {"eth0": mac})
    bridge, cable, lan = found
    assert [profile.interface for profile in found] == ["eaves-eth0", "eth0", "eth1"]
    assert (bridge.label, bridge.is_software, cable.label) == ("wan", True, "")
    assert section(bridge, "802-3-ethernet") == {"mtu": 1400, "assigned-mac-address": mac}
    assert section(bridge, "bridge")["stp"] is False
    assert section(bridge, "ipv4")["address-data"] == [{"address": "192.0.2.10", "prefix": 24}]
    assert section(bridge, "ipv4")["route-metric"] > section(lan, "ipv4")["route-metric"]
    assert (section(cable, "connection")["master"], section(cable, "connection")["slave-type"]) == (
        "eaves-eth0",
        "bridge",
    )
    assert "ipv4" not in cable.settings
    assert render_profiles(setup, "eaves", KEY, {"eaves-eth0": mac}) == found, "a cable that is away changes nothing"

"""VLANs, bonds, proxies and wireless networks in device configs."""

from __future__ import annotations

import base64
from typing import Any

from eaves.controller.compile.model import CompiledConfig, NodeInputs, ObjectKey
from eaves.controller.compile.node import compile_node
from eaves.kube.resource import Object
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import make_edgenode, make_secret
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
WIFI = {"ssid": "shop", "credentialsSecretRef": {"namespace": "shop", "name": "wifi"}}
SERVER = {"caCertificates": "PEM", "serverName": "radius.example"}


def compile_ports(
    *secrets: Object, cipher: DeviceCipher | None = None, previous: EdgeDevConfig | None = None, **spec: Any
) -> CompiledConfig:
    return compile_node(
        NodeInputs(
            edgenode=make_edgenode(**spec),
            secrets=secrets,
            cipher=cipher.node_cipher if cipher else None,
            previous=previous,
        )
    )


def test_a_vlan_of_a_bond() -> None:
    config = compile_ports(
        uplinks=[{"name": "office", "mtu": 1400}],
        bonds=[{"name": "lag", "ports": ["eth1", "eth0"], "mode": "802.3ad", "fastLacp": True, "interface": "bond0"}],
        vlans=[{"name": "office", "port": "lag", "id": 10, "interface": "bond0.10"}],
    ).config
    (adapter,), (vlan,), (bond,) = config.systemAdapterList, config.vlans, config.bonds
    assert (adapter.name, adapter.lowerLayerName) == ("office", "office")
    assert (vlan.logicallabel, vlan.interface_name, vlan.lower_layer_name, vlan.vlan_id) == (
        "office",
        "bond0.10",
        "lag",
        10,
    )
    assert (bond.logicallabel, bond.interface_name, list(bond.lower_layer_names)) == ("lag", "bond0", ["eth1", "eth0"])
    assert (bond.bond_mode, bond.mii.interval, bond.lacp_rate) == (netcmn.BOND_MODE_802_3AD, 100, netcmn.LACP_RATE_FAST)
    assert [(io.logicallabel, io.phyaddrs["ifname"]) for io in config.deviceIoList] == [
        ("eth0", "eth0"),
        ("eth1", "eth1"),
    ]
    assert config.networks[0].mtu == 1400


def test_families_and_addresses_of_ipv6() -> None:
    (network,) = compile_ports(
        uplinks=[{"name": "eth0", "addresses": ["2001:db8::7/64"], "gateway": "fe80::1"}]
    ).config.networks
    assert (network.type, network.ip.subnet, network.ip.gateway) == (netcmn.V6, "2001:db8::/64", "fe80::1")
    (network,) = compile_ports(uplinks=[{"name": "eth0", "family": "Dual"}]).config.networks
    assert (network.type, network.ip.dhcp) == (netcmn.DualV4V6, netcmn.Client)


def test_proxies() -> None:
    (network,) = compile_ports(
        uplinks=[
            {
                "name": "eth0",
                "proxy": {
                    "servers": [{"protocol": "HTTPS", "host": "proxy.example", "port": 8080}],
                    "exceptions": [".local", "10.0.0.0/8"],
                    "caCertificates": PEM + PEM,
                },
            }
        ]
    ).config.networks
    proxy = network.entProxy
    assert [(server.proto, server.server, server.port) for server in proxy.proxies] == [
        (netcmn.PROXY_HTTPS, "proxy.example", 8080)
    ]
    assert (proxy.exceptions, len(proxy.proxyCertPEM), proxy.networkProxyEnable) == (".local,10.0.0.0/8", 2, False)


def test_a_pac_file_travels_in_base64() -> None:
    pac = "function FindProxyForURL(url, host) { return 'DIRECT'; }"
    (network,) = compile_ports(uplinks=[{"name": "eth0", "proxy": {"pac": pac}}]).config.networks
    assert base64.b64decode(network.entProxy.pacfile).decode() == pac
    (network,) = compile_ports(uplinks=[{"name": "eth0", "proxy": {"discover": True}}]).config.networks
    assert network.entProxy.networkProxyEnable


def test_a_wireless_password_travels_sealed() -> None:
    cipher = DeviceCipher()
    compiled = compile_ports(
        make_secret("wifi", namespace="shop", password="secret-psk"),
        cipher=cipher,
        uplinks=[{"name": "wlan0", "wifi": [WIFI]}],
    )
    (network,) = compiled.config.networks
    (wifi,) = network.wireless.wifiCfg
    assert (network.wireless.type, wifi.wifiSSID, wifi.keyScheme) == (netcmn.WiFi, "shop", netcmn.WPAPSK)
    assert cipher.decrypt(wifi.cipherData).wifiPassword == "secret-psk"
    assert b"secret-psk" not in compiled.config.SerializeToString()
    assert wifi.cipherData.cipherContextId in {context.contextId for context in compiled.config.cipherContexts}
    assert compiled.config.deviceIoList[0].ptype == common.PhyIoNetWLAN
    assert ObjectKey("Secret", "shop", "wifi") in compiled.touched


def test_a_user_of_the_network_and_a_mobile_one() -> None:
    cipher = DeviceCipher()
    secret = make_secret("wifi", namespace="shop", username="till-17", password="secret")
    reference = WIFI["credentialsSecretRef"]
    config = compile_ports(
        secret,
        cipher=cipher,
        uplinks=[
            {"name": "lte", "cellular": {"apn": "a.example", "credentialsSecretRef": reference, "forbidRoaming": True}},
            {"name": "wlan0", "wifi": [{**WIFI, "security": "WPA-EAP", "priority": 3, **SERVER}]},
        ],
    ).config
    by_type = {network.wireless.type: network.wireless for network in config.networks}
    wifi = by_type[netcmn.WiFi].wifiCfg[0]
    assert (wifi.eaves.ca_pem, wifi.eaves.server_name) == ("PEM", "radius.example")
    assert (wifi.keyScheme, wifi.priority, cipher.decrypt(wifi.cipherData).wifiUserName) == (
        netcmn.WPAEAP,
        3,
        "till-17",
    )
    point = by_type[netcmn.Cellular].cellularCfg[0].access_points[0]
    assert (point.apn, point.forbid_roaming, cipher.decrypt(point.cipher_data).cellular_net_password) == (
        "a.example",
        True,
        "secret",
    )


def test_the_pin_of_a_card_travels_sealed() -> None:
    cipher, secret = DeviceCipher(), make_secret("sim", namespace="shop", pin="4711")
    reference = {"namespace": "shop", "name": "sim"}
    config = compile_ports(
        secret, cipher=cipher, uplinks=[{"name": "lte", "cellular": {"pinSecretRef": reference}}]
    ).config
    point = config.networks[0].wireless.cellularCfg[0].access_points[0]
    assert cipher.decrypt(point.cipher_data).eaves.sim_pin == "4711"
    assert point.auth_protocol == netcmn.CELLULAR_AUTH_PROTOCOL_NONE


def test_a_missing_secret_leaves_the_ports_as_they_were() -> None:
    cipher, secret = DeviceCipher(), make_secret("wifi", namespace="shop", password="secret-psk")
    uplinks = [{"name": "wlan0", "wifi": [WIFI]}]
    before = compile_ports(secret, cipher=cipher, uplinks=uplinks).config
    compiled = compile_ports(cipher=cipher, previous=before, uplinks=[*uplinks, {"name": "eth0"}])
    assert compiled.config.systemAdapterList == before.systemAdapterList
    assert compiled.config.networks == before.networks
    assert compiled.config.cipherContexts == before.cipherContexts
    (problem,) = compiled.problems
    assert (problem.kind, problem.reason) == ("EdgeNode", "SecretNotFound")
    assert "Secret wifi in namespace shop" in problem.message


def test_a_secret_without_its_key_is_named() -> None:
    compiled = compile_ports(
        make_secret("wifi", namespace="shop", psk="x"),
        cipher=DeviceCipher(),
        uplinks=[{"name": "wlan0", "wifi": [WIFI]}],
    )
    assert [problem.reason for problem in compiled.problems] == ["CredentialsUnreadable"]
    assert not compiled.config.systemAdapterList

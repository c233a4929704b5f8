"""The configs of the ports as the device API tells them."""

from __future__ import annotations

from eaves.node.desired.port_model import (
    Addressing,
    IpSetup,
    Medium,
    PortSetup,
    PortsSetup,
    ProxyScheme,
    ProxyServer,
    ProxySetup,
)
from eaves.node.ports.history import Record
from eaves.node.ports.view import PortsView
from eaves.node.report.facts import Port
from eaves.node.report.ports import want_adapters
from eaves.wire.pb.evecommon import netcmn_pb2
from eaves.wire.pb.info import info_pb2

SEEN = [
    Port("eth0", "02:00:00:00:00:01", True, 1500, ("192.0.2.9/24",), ("192.0.2.1",)),
    Port("eth1", "x", False, 1500),
]
SETUP = PortsSetup(
    (
        PortSetup("wan", "eth0", ip=IpSetup(Addressing.STATIC, address="192.0.2.9/24"), network_id="net-1"),
        PortSetup("wifi", "wlan0", Medium.WIFI, cost=10, is_management=False),
    )
)
HOST = Record()
GOOD = Record("controller", b"good", 5.5, last_succeeded=10.0)
BAD = Record("controller", b"bad", 20.0, last_failed=30.0, last_error="wan: no answer")


def test_without_management_the_hosts_ports_are_told() -> None:
    told = want_adapters(SEEN, (), ("192.0.2.53",), PortsView())
    (config,) = told.status
    assert (config.key, [port.ifname for port in config.ports]) == ("eaves", ["eth0"])
    assert (config.ports[0].isMgmt, list(config.ports[0].dns.DNSservers)) == (True, ["192.0.2.53"])


def test_each_config_with_its_results_and_the_ports_in_force_as_they_are() -> None:
    view = PortsView((BAD, GOOD, HOST), 1, (PortsSetup(), SETUP, PortsSetup()), faults={"wifi": "wlan0 does not exist"})
    told = want_adapters(SEEN, (), (), view)
    assert told.currentIndex == 1
    bad, good, host = told.status
    assert (bad.lastFailed.seconds, bad.lastError, bad.HasField("lastSucceeded")) == (30, "wan: no answer", False)
    assert (good.lastSucceeded.seconds, good.timePriority.nanos, good.HasField("lastFailed")) == (10, 500000000, False)
    wan, wifi = good.ports
    assert (wan.name, wan.dhcpType, list(wan.IPAddrs), wan.up, wan.networkUUID) == (
        "wan",
        netcmn_pb2.Static,
        ["192.0.2.9"],
        True,
        "net-1",
    )
    assert (wifi.cost, wifi.isMgmt, wifi.wireless_status.type, wifi.err.description) == (
        10,
        False,
        info_pb2.WIRELESS_TYPE_WIFI,
        "wlan0 does not exist",
    )
    assert (host.key, len(host.ports)) == ("host", 0)


def test_what_the_host_had_is_in_force() -> None:
    told = want_adapters(SEEN, (), (), PortsView((BAD, HOST), 1, (SETUP, PortsSetup())))
    assert [port.ifname for port in told.status[1].ports] == ["eth0"]
    assert not told.status[0].ports[0].IPAddrs, "not in force"


def test_proxies() -> None:
    proxy = ProxySetup((ProxyServer(ProxyScheme.HTTPS, "proxy.example", 8080),), (".local",), discover=True)
    setup = PortsSetup((PortSetup("wan", "eth0", proxy=proxy),))
    told = want_adapters([], (), (), PortsView((GOOD,), 0, (setup,)))
    status = told.status[0].ports[0].proxy
    assert [(one.type, one.server, one.port) for one in status.proxies] == [
        (netcmn_pb2.PROXY_HTTPS, "proxy.example", 8080)
    ]
    assert (status.exceptions, status.networkProxyEnable) == (".local", True)


def test_time_servers_of_a_port_in_force() -> None:
    view = PortsView((GOOD, HOST), 0, (SETUP, PortsSetup()), time_servers={"wan": ("192.0.2.1", "time.example")})
    wan, wifi = want_adapters(SEEN, (), (), view).status[0].ports
    assert (wan.ntpServer, list(wan.more_ntp_servers)) == ("192.0.2.1", ["time.example"])
    assert (wifi.ntpServer, list(wifi.more_ntp_servers)) == ("", [])

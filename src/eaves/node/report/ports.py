"""The configs of the ports, and how the ports themselves are, as the device API tells them (SystemAdapterInfo)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eaves.node.desired.port_model import Addressing, Medium, PortSetup, PortsSetup, ProxyScheme, ProxySetup
from eaves.node.link.uplinks import Uplink
from eaves.node.ports.history import HOST, Record
from eaves.node.ports.view import PortsView
from eaves.node.report.facts import Port
from eaves.node.report.modems import want_cellular
from eaves.wire.pb.evecommon import devmodelcommon_pb2, netcmn_pb2
from eaves.wire.pb.info import common_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import (
    WIRELESS_TYPE_CELLULAR,
    WIRELESS_TYPE_WIFI,
    DevicePort,
    DevicePortStatus,
    ProxyEntry,
    ProxyStatus,
    SystemAdapterInfo,
    WirelessStatus,
    ZInfoDNS,
    ZInfoNetwork,
)

_UNMANAGED_KEY = "eaves"
"""Of the one config that a node reports whose ports are its host's."""
_DHCP_TYPES = {
    Addressing.DHCP: netcmn_pb2.Client,
    Addressing.STATIC: netcmn_pb2.Static,
    Addressing.NONE: netcmn_pb2.DHCPNone,
}
_PROXY_TYPES = {
    ProxyScheme.HTTP: netcmn_pb2.PROXY_HTTP,
    ProxyScheme.HTTPS: netcmn_pb2.PROXY_HTTPS,
    ProxyScheme.SOCKS: netcmn_pb2.PROXY_SOCKS,
    ProxyScheme.FTP: netcmn_pb2.PROXY_FTP,
}
_RADIOS = {Medium.WIFI: WIRELESS_TYPE_WIFI, Medium.CELLULAR: WIRELESS_TYPE_CELLULAR}


def want_adapters(
    seen: Sequence[Port], uplinks: Sequence[Uplink], name_servers: Sequence[str], configs: PortsView
) -> SystemAdapterInfo:
    """``configs`` empty = the ports are left to the host, and what it has is told as one config."""
    if not configs.records:
        status = DevicePortStatus(version=1, key=_UNMANAGED_KEY, ports=_want_host_ports(seen, uplinks, name_servers))
        return SystemAdapterInfo(currentIndex=0, status=[status])
    return SystemAdapterInfo(
        currentIndex=configs.index,
        status=[
            _want_status(record, setup, seen, name_servers, configs, is_used=number == configs.index)
            for number, (record, setup) in enumerate(zip(configs.records, configs.setups, strict=True))
        ],
    )


def want_networks(
    seen: Sequence[Port], uplinks: Sequence[Uplink], name_servers: Sequence[str], configs: PortsView
) -> list[ZInfoNetwork]:
    """The ports in use once more, in the older form, which EVE still sends and Eden looks for a device's addresses in."""
    adapters = want_adapters(seen, uplinks, name_servers, configs)
    return [
        ZInfoNetwork(
            devName=port.name,
            localName=port.ifname,
            macAddr=port.macAddr,
            IPAddrs=port.IPAddrs,
            defaultRouters=port.defaultRouters,
            dns=port.dns if port.HasField("dns") else None,
            ipv4_up=port.up,
            uplink=port.isMgmt,
            networkErr=port.err if port.HasField("err") else None,
            proxy=port.proxy if port.HasField("proxy") else None,
            ntp_servers=[server for server in (port.ntpServer, *port.more_ntp_servers) if server],
        )
        for port in adapters.status[adapters.currentIndex].ports
    ]


def _want_status(
    record: Record,
    setup: PortsSetup,
    seen: Sequence[Port],
    name_servers: Sequence[str],
    configs: PortsView,
    *,
    is_used: bool,
) -> DevicePortStatus:
    status = DevicePortStatus(version=1, key=record.key, lastError=record.last_error)
    for field, moment in (
        (status.timePriority, record.made_at),
        (status.lastFailed, record.last_failed),
        (status.lastSucceeded, record.last_succeeded),
    ):
        if moment:
            field.FromNanoseconds(round(moment * 1e9))
    if record.key == HOST:
        status.ports.extend(_want_host_ports(seen, (), name_servers) if is_used else [])
        return status
    by_name = {port.name: port for port in seen} if is_used else {}
    faults = configs.faults if is_used else {}
    times = configs.time_servers if is_used else {}
    status.ports.extend(
        _want_port(port, by_name.get(port.interface), name_servers, faults, times.get(port.label, port.ip.ntp_servers))
        for port in setup.ports
    )
    for found in status.ports if is_used else ():
        if (modem := configs.modems.get(found.name)) is not None:
            found.wireless_status.cellular.CopyFrom(want_cellular(modem, faults.get(found.name, "")))
    return status


def _want_port(
    port: PortSetup,
    seen: Port | None,
    name_servers: Sequence[str],
    faults: Mapping[str, str],
    time_servers: Sequence[str],
) -> DevicePort:
    found = DevicePort(
        ifname=port.interface,
        name=port.label,
        isMgmt=port.is_management,
        dhcpType=_DHCP_TYPES[port.ip.addressing],
        subnet=port.ip.address,
        usage=devmodelcommon_pb2.PhyIoUsageMgmtAndApps if port.is_management else devmodelcommon_pb2.PhyIoUsageShared,
        networkUUID=port.network_id,
        cost=port.cost,
        mtu=port.mtu,
        ntpServer=next(iter(time_servers), ""),
        more_ntp_servers=time_servers[1:],
    )
    if port.medium in _RADIOS:
        found.wireless_status.CopyFrom(WirelessStatus(type=_RADIOS[port.medium]))
    if port.proxy != ProxySetup():
        found.proxy.CopyFrom(_want_proxy(port.proxy))
    if seen is not None:
        _fill_seen(found, seen, name_servers)
    if port.label in faults:
        found.err.CopyFrom(ErrorInfo(description=faults[port.label], severity=common_pb2.SEVERITY_ERROR))
    return found


def _fill_seen(found: DevicePort, seen: Port, name_servers: Sequence[str]) -> None:
    found.macAddr, found.up, found.mtu = seen.mac, seen.is_up, seen.mtu
    found.IPAddrs.extend(address.partition("/")[0] for address in seen.addresses)
    found.subnet = found.subnet or (seen.addresses[0] if seen.addresses else "")
    found.defaultRouters.extend(seen.routers)
    found.dns.CopyFrom(ZInfoDNS(DNSservers=name_servers))


def _want_proxy(proxy: ProxySetup) -> ProxyStatus:
    return ProxyStatus(
        proxies=[ProxyEntry(type=_PROXY_TYPES[one.scheme], server=one.host, port=one.port) for one in proxy.servers],
        exceptions=",".join(proxy.exceptions),
        pacfile=proxy.pac,
        networkProxyEnable=proxy.discover,
        networkProxyURL=proxy.pac_url,
    )


def _want_host_ports(seen: Sequence[Port], uplinks: Sequence[Uplink], name_servers: Sequence[str]) -> list[DevicePort]:
    """Host interfaces with an address; those by which the controller is reached are marked."""
    configured = {uplink.interface: uplink for uplink in uplinks}
    found = []
    for port in seen:
        uplink = configured.get(port.name)
        if not port.addresses and uplink is None:
            continue
        one = DevicePort(
            ifname=port.name,
            name=uplink.label if uplink else port.name,
            isMgmt=uplink is not None or (not configured and bool(port.routers)),
            usage=devmodelcommon_pb2.PhyIoUsageMgmtAndApps,
            cost=uplink.cost if uplink else 0,
        )
        _fill_seen(one, port, name_servers)
        found.append(one)
    return found

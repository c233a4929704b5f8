"""One uplink, VLAN or bond as the device API has it: addressing, proxies, wireless networks with sealed secrets."""

from __future__ import annotations

import base64
from ipaddress import IPv4Interface, IPv6Interface

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.pem import split_certificates
from eaves.kinds.port_spec import (
    Bond,
    BondModeName,
    ProxyProtocol,
    SecretReference,
    Uplink,
    UplinkCellular,
    UplinkFamily,
    UplinkProxy,
    UplinkWifi,
    Vlan,
    WifiSecurity,
)
from eaves.wire.pb.config.devmodel_pb2 import BondAdapter, MIIMonitor, VlanAdapter
from eaves.wire.pb.config.netconfig_pb2 import (
    CellularAccessPoint,
    CellularConfig,
    NetworkConfig,
    WifiConfig,
    WirelessConfig,
)
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

_TYPES = {
    UplinkFamily.IPV4: netcmn.V4,
    UplinkFamily.IPV4_ONLY: netcmn.V4Only,
    UplinkFamily.IPV6: netcmn.V6,
    UplinkFamily.IPV6_ONLY: netcmn.V6Only,
    UplinkFamily.DUAL: netcmn.DualV4V6,
}
_PROTOCOLS = {
    ProxyProtocol.HTTP: netcmn.PROXY_HTTP,
    ProxyProtocol.HTTPS: netcmn.PROXY_HTTPS,
    ProxyProtocol.SOCKS: netcmn.PROXY_SOCKS,
    ProxyProtocol.FTP: netcmn.PROXY_FTP,
}
_SCHEMES = {
    WifiSecurity.OPEN: netcmn.SchemeNOOP,
    WifiSecurity.WPA_PSK: netcmn.WPAPSK,
    WifiSecurity.WPA_EAP: netcmn.WPAEAP,
}
_MODES = {
    BondModeName.ACTIVE_BACKUP: netcmn.BOND_MODE_ACTIVE_BACKUP,
    BondModeName.LACP: netcmn.BOND_MODE_802_3AD,
    BondModeName.BALANCE_RR: netcmn.BOND_MODE_BALANCE_RR,
    BondModeName.BALANCE_XOR: netcmn.BOND_MODE_BALANCE_XOR,
    BondModeName.BROADCAST: netcmn.BOND_MODE_BROADCAST,
    BondModeName.BALANCE_TLB: netcmn.BOND_MODE_BALANCE_TLB,
    BondModeName.BALANCE_ALB: netcmn.BOND_MODE_BALANCE_ALB,
}


class PortSecrets:
    """Finds the secrets that ports name, and seals them to the device."""

    def __init__(self, lookup: Lookup, draft: Draft, cipher: NodeCipher | None) -> None:
        self._lookup = lookup
        self.draft = draft
        self.cipher = cipher

    def find(self, reference: SecretReference, user: str, *keys: str) -> list[str]:
        """The values of ``keys``. Raises :class:`HeldBackError`."""
        data = self._lookup.secret_data(reference.namespace, reference.name)
        where = f"Secret {reference.name} in namespace {reference.namespace}"
        if data is None:
            raise HeldBackError("SecretNotFound", f"{user} needs {where}, which does not exist; create it")
        missing = [key for key in keys if key not in data]
        if missing:
            raise HeldBackError("CredentialsUnreadable", f"{where} lacks {missing[0]}, which {user} needs; add it")
        try:
            return [data[key].decode() for key in keys]
        except UnicodeDecodeError as error:
            raise HeldBackError("CredentialsUnreadable", f"{where} is no text, as {user} needs it") from error


def want_network(
    network_id: str, uplink: Uplink, address: IPv4Interface | IPv6Interface | None, secrets: PortSecrets
) -> NetworkConfig:
    """The IP settings of an uplink. Raises :class:`HeldBackError`."""
    settings = netcmn.ipspec(
        dhcp=netcmn.Client,
        dns=uplink.dns_servers,
        ntp=next(iter(uplink.ntp_servers), ""),
        more_ntp=uplink.ntp_servers[1:],
        domain=uplink.domain,
    )
    if address is not None:
        settings.dhcp = netcmn.Static
        settings.subnet, settings.gateway = str(address.network), uplink.gateway
    family = UplinkFamily.IPV6 if address is not None and address.version == 6 else UplinkFamily.IPV4
    config = NetworkConfig(id=network_id, type=_TYPES[uplink.family or family], ip=settings, mtu=uplink.mtu)
    if uplink.proxy is not None:
        config.entProxy.CopyFrom(_want_proxy(uplink.proxy))
    if uplink.wifi:
        networks = [_want_wifi(network, uplink.name, secrets) for network in uplink.wifi]
        config.wireless.CopyFrom(WirelessConfig(type=netcmn.WiFi, wifiCfg=networks))
    if uplink.cellular is not None:
        cellular = _want_cellular(uplink.cellular, uplink.name, secrets)
        config.wireless.CopyFrom(WirelessConfig(type=netcmn.Cellular, cellularCfg=[cellular]))
    return config


def want_vlan(vlan: Vlan) -> VlanAdapter:
    return VlanAdapter(
        logicallabel=vlan.name, interface_name=vlan.interface or vlan.name, lower_layer_name=vlan.port, vlan_id=vlan.id
    )


def want_bond(bond: Bond) -> BondAdapter:
    return BondAdapter(
        logicallabel=bond.name,
        interface_name=bond.interface or bond.name,
        lower_layer_names=bond.ports,
        bond_mode=_MODES[bond.mode],
        mii=MIIMonitor(interval=bond.mii_interval_ms),
        lacp_rate=_lacp_rate(bond),
    )


def _lacp_rate(bond: Bond) -> netcmn.LacpRate.ValueType:
    if bond.mode is not BondModeName.LACP:
        return netcmn.LACP_RATE_UNSPECIFIED
    return netcmn.LACP_RATE_FAST if bond.fast_lacp else netcmn.LACP_RATE_SLOW


def _want_proxy(proxy: UplinkProxy) -> netcmn.ProxyConfig:
    return netcmn.ProxyConfig(
        networkProxyEnable=proxy.discover,
        proxies=[
            netcmn.ProxyServer(proto=_PROTOCOLS[server.protocol], server=server.host, port=server.port)
            for server in proxy.servers
        ],
        exceptions=",".join(proxy.exceptions),
        pacfile=base64.b64encode(proxy.pac.encode()).decode(),
        networkProxyURL=proxy.pac_url,
        proxyCertPEM=[pem.encode() for pem in split_certificates(proxy.ca_certificates)],
    )


def _want_wifi(network: UplinkWifi, uplink: str, secrets: PortSecrets) -> WifiConfig:
    config = WifiConfig(wifiSSID=network.ssid, keyScheme=_SCHEMES[network.security], priority=network.priority)
    if network.ca_certificates:
        config.eaves.ca_pem, config.eaves.server_name = network.ca_certificates, network.server_name
    if network.credentials_secret_ref is None:
        return config
    user = f"uplink {uplink}"
    if network.security is WifiSecurity.WPA_EAP:
        username, password = secrets.find(network.credentials_secret_ref, user, "username", "password")
    else:
        (password,) = secrets.find(network.credentials_secret_ref, user, "password")
        username = ""
    block = EncryptionBlock(wifiUserName=username, wifiPassword=password)
    config.cipherData.CopyFrom(secrets.draft.encrypt(secrets.cipher, block, user))
    return config


def _want_cellular(cellular: UplinkCellular, uplink: str, secrets: PortSecrets) -> CellularConfig:
    point = CellularAccessPoint(
        sim_slot=cellular.sim_slot,
        apn=cellular.apn,
        attach_apn=cellular.attach_apn,
        forbid_roaming=cellular.forbid_roaming,
    )
    user, block = f"uplink {uplink}", EncryptionBlock()
    if cellular.credentials_secret_ref is not None:
        username, password = secrets.find(cellular.credentials_secret_ref, user, "username", "password")
        point.auth_protocol = netcmn.CELLULAR_AUTH_PROTOCOL_PAP_AND_CHAP
        block.cellular_net_username, block.cellular_net_password = username, password
    if cellular.pin_secret_ref is not None:
        (block.eaves.sim_pin,) = secrets.find(cellular.pin_secret_ref, user, "pin")
    if block.ByteSize():
        point.cipher_data.CopyFrom(secrets.draft.encrypt(secrets.cipher, block, user))
    return CellularConfig(APN=cellular.apn, access_points=[point], activated_sim_slot=cellular.sim_slot)

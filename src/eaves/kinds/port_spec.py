"""How the ports of an EdgeNode are set up: addresses, VLANs, bonds, proxies, wireless networks. Part of :mod:`eaves.kinds.edgenode`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct

from eaves.kinds.fields import about


class SecretReference(Struct, frozen=True, rename="camel", kw_only=True):
    """Names a Secret; an EdgeNode is in no namespace itself."""

    namespace: Annotated[str, about("Namespace of the Secret.", min_length=1, max_length=63)]
    name: Annotated[str, about("Name of the Secret.", min_length=1, max_length=253)]


class UplinkFamily(StrEnum):
    IPV4 = "IPv4"
    IPV4_ONLY = "IPv4Only"
    IPV6 = "IPv6"
    IPV6_ONLY = "IPv6Only"
    DUAL = "Dual"


class ProxyProtocol(StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    SOCKS = "SOCKS"
    FTP = "FTP"


class UplinkProxyServer(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One proxy, for one kind of traffic."""

    protocol: Annotated[ProxyProtocol, about("Whose traffic it takes: HTTP, HTTPS, SOCKS or FTP.")]
    host: Annotated[str, about("Host name or address of the proxy.", min_length=1, max_length=253)]
    port: Annotated[int, about("Its TCP port.", ge=1, le=65535)] = 3128


class UplinkProxy(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """How the web is reached by an uplink."""

    servers: Annotated[list[UplinkProxyServer], about("Proxies by the traffic that they take.", max_length=8)] = []
    exceptions: Annotated[
        list[str], about("Hosts, .domains and networks that are reached directly.", max_length=128)
    ] = []
    pac: Annotated[str, about("Text of a proxy auto-configuration file.", max_length=65536)] = ""
    pac_url: Annotated[str, about("Where the device fetches such a file.", max_length=2048)] = ""
    discover: Annotated[bool, about("Look for such a file by WPAD: http://wpad.DOMAIN/wpad.dat.")] = False
    ca_certificates: Annotated[
        str, about("PEM certificates of authorities of proxies that look into TLS.", max_length=65536)
    ] = ""


class WifiSecurity(StrEnum):
    OPEN = "Open"
    WPA_PSK = "WPA-PSK"
    WPA_EAP = "WPA-EAP"


class UplinkWifi(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A wireless network to join."""

    ssid: Annotated[str, about("Its name.", min_length=1, max_length=32)]
    security: Annotated[WifiSecurity, about("Open, WPA-PSK (a password) or WPA-EAP (user and password, by PEAP).")] = (
        WifiSecurity.WPA_PSK
    )
    credentials_secret_ref: Annotated[
        SecretReference | None, about("Secret with the key password and, for WPA-EAP, username.")
    ] = None
    ca_certificates: Annotated[
        str,
        about(
            "PEM certificates of authorities, one of which vouches for the network's authentication server (WPA-EAP)."
            " Without them whoever uses the network's name is given the login.",
            max_length=65536,
        ),
    ] = ""
    server_name: Annotated[
        str, about("DNS name in that server's certificate, or a domain that it is in.", max_length=253)
    ] = ""
    priority: Annotated[int, about("Of several networks in reach the one of the highest.", ge=-999, le=999)] = 0


class UplinkCellular(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the operator of a mobile network asks for."""

    apn: Annotated[str, about("Access point name; the modem's own choice when absent.", max_length=100)] = ""
    attach_apn: Annotated[str, about("Access point of the first bearer, where it differs.", max_length=100)] = ""
    sim_slot: Annotated[int, about("Slot of the SIM card, from 1; the active one when 0.", ge=0, le=16)] = 0
    credentials_secret_ref: Annotated[SecretReference | None, about("Secret with the keys username and password.")] = (
        None
    )
    pin_secret_ref: Annotated[
        SecretReference | None,
        about("Secret with the key pin, of the SIM card. A wrong one is sent once, never again."),
    ] = None
    forbid_roaming: Annotated[bool, about("Stay off the networks of other operators.")] = False


class Vlan(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One VLAN of a port or bond as a port of its own; an uplink of the same name gives it addresses."""

    name: Annotated[str, about("Name by which uplinks and networks refer to it.", min_length=1, max_length=63)]
    port: Annotated[str, about("Name of the port or bond that carries it.", min_length=1, max_length=63)]
    id: Annotated[int, about("Number of the VLAN.", ge=1, le=4094)]
    interface: Annotated[str, about("Linux name; the same as name when absent.", max_length=15)] = ""


class BondModeName(StrEnum):
    """As the kernel calls them."""

    ACTIVE_BACKUP = "active-backup"
    LACP = "802.3ad"
    BALANCE_RR = "balance-rr"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"


class Bond(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Several ports as one; an uplink or VLAN of this name stands on it."""

    name: Annotated[str, about("Name by which uplinks and VLANs refer to it.", min_length=1, max_length=63)]
    ports: Annotated[list[str], about("Names of the ports; the first is preferred.", min_length=1, max_length=16)]
    mode: Annotated[BondModeName, about("How they work together, in the kernel's words.")] = BondModeName.ACTIVE_BACKUP
    interface: Annotated[str, about("Linux name; the same as name when absent.", max_length=15)] = ""
    mii_interval_ms: Annotated[int, about("How often links are looked at.", ge=1, le=60000)] = 100
    fast_lacp: Annotated[bool, about("Ask the switch for a message a second instead of one in 30 s.")] = False


class Uplink(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A network port by which the device reaches the controller and its apps reach the world."""

    name: Annotated[str, about("Label by which networks refer to the port, such as eth0.", min_length=1, max_length=63)]
    interface: Annotated[str, about("Linux name of the interface; the same as name when absent.", max_length=15)] = ""
    cost: Annotated[int, about("Ports of lower cost are used first; 0 is free.", ge=0, le=255)] = 0
    addresses: Annotated[
        list[str], about("Static address with prefix length, such as 192.0.2.10/24; by DHCP when absent.", max_length=1)
    ] = []
    gateway: Annotated[str, about("Router, for a static address.")] = ""
    dns_servers: Annotated[list[str], about("Resolvers; beside those that DHCP offers.")] = []
    ntp_servers: Annotated[list[str], about("Time servers; beside those that DHCP offers.", max_length=8)] = []
    domain: Annotated[str, about("Domain in which host names are looked up.", max_length=253)] = ""
    family: Annotated[
        UplinkFamily | None,
        about(
            "IPv4 or IPv6 (the other too, where the network offers it), IPv4Only, IPv6Only or Dual; IPv4 when absent."
        ),
    ] = None
    mtu: Annotated[int, about("Largest packet in bytes; as it is when 0.", ge=0, le=65535)] = 0
    proxy: Annotated[UplinkProxy | None, about("Proxies by which the web is reached.")] = None
    wifi: Annotated[list[UplinkWifi], about("Wireless networks to join, of a port of type WiFi.", max_length=16)] = []
    cellular: Annotated[UplinkCellular | None, about("Mobile network, of a port of type Cellular.")] = None
    management: Annotated[bool, about("Whether the device may use the port to reach the controller.")] = True
    labels: Annotated[
        list[str], about("Further labels, which ports may share, by which networks refer to it.", max_length=16)
    ] = []

"""How the ports of a node are to be set up. Made by :mod:`eaves.node.desired.port_setup`, read by :mod:`eaves.node.ports`."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from eaves.node.desired.model import ConfigProblem
from eaves.node.desired.secret import Secret


class Addressing(StrEnum):
    """Where a port has its addresses from."""

    DHCP = "dhcp"
    STATIC = "static"
    NONE = "none"


class Families(StrEnum):
    """Which versions of IP a port speaks. ``IPV4`` and ``IPV6`` take the other one along where the network offers it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    IPV4_ONLY = "ipv4-only"
    IPV6_ONLY = "ipv6-only"
    BOTH = "both"


class IpSetup(Struct, frozen=True):
    """Addresses as text, checked. ``address`` has its prefix length."""

    addressing: Addressing = Addressing.DHCP
    families: Families = Families.IPV4
    address: str = ""
    gateway: str = ""
    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    """Addresses or host names."""
    domain: str = ""
    ignores_dns: bool = False
    """Name servers that DHCP offers do not count."""
    ignores_ntp: bool = False
    """Nor do its time servers."""
    ignores_gateways: bool = False
    """Nor do its routers."""


class BondMode(StrEnum):
    """As the kernel calls them."""

    BALANCE_RR = "balance-rr"
    ACTIVE_BACKUP = "active-backup"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    LACP = "802.3ad"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"


class BondSetup(Struct, frozen=True):
    """Several interfaces as one. ``members`` are Linux names, the first is preferred where one is active at a time."""

    interface: str
    members: tuple[str, ...]
    mode: BondMode = BondMode.ACTIVE_BACKUP
    mii_interval_ms: int = 100
    up_delay_ms: int = 0
    down_delay_ms: int = 0
    arp_interval_ms: int = 0
    """Not 0 = links are watched by ARP to ``arp_targets`` instead."""
    arp_targets: tuple[str, ...] = ()
    fast_lacp: bool = False


class VlanSetup(Struct, frozen=True):
    """One VLAN of an interface as an interface of its own."""

    interface: str
    parent: str
    vlan_id: int


class BridgeSetup(Struct, frozen=True):
    """A bridge over one cable: the node's own addresses are on it, and the apps of a switch join it."""

    interface: str
    cable: str


class WifiScheme(StrEnum):
    OPEN = "open"
    WPA_PSK = "wpa-psk"
    WPA_EAP = "wpa-eap"


class WifiNetwork(Struct, frozen=True):
    """A wireless network to join; of several in reach the one of the highest ``priority``."""

    ssid: str
    scheme: WifiScheme = WifiScheme.WPA_PSK
    identity: str = ""
    password: Secret = Secret("")
    priority: int = 0
    ca_pem: str = ""
    """Certificates of authorities that vouch for who asks for the password; empty = anybody may ask."""
    server_name: str = ""
    """Of who asks, or the domain that it is in."""


class CellularSetup(Struct, frozen=True):
    """What the operator of a mobile network asks for. Empty = the modem knows by itself."""

    apn: str = ""
    username: str = ""
    password: Secret = Secret("")
    attach_apn: str = ""
    forbid_roaming: bool = False
    families: Families = Families.IPV4
    pin: Secret = Secret("")
    """Of the SIM card; empty = none is entered."""


class ProxyScheme(StrEnum):
    """Whose traffic a proxy takes."""

    HTTP = "http"
    HTTPS = "https"
    SOCKS = "socks"
    FTP = "ftp"


class ProxyServer(Struct, frozen=True):
    scheme: ProxyScheme
    host: str
    port: int


class ProxySetup(Struct, frozen=True):
    """How the web is reached by a port. An empty one = directly."""

    servers: tuple[ProxyServer, ...] = ()
    exceptions: tuple[str, ...] = ()
    """Hosts, domains and networks that are reached directly."""
    pac: str = ""
    """Text of a proxy auto-configuration file."""
    discover: bool = False
    """Look for such a file as WPAD does."""
    pac_url: str = ""
    ca_pems: tuple[str, ...] = ()
    """Certificates of proxies that look into TLS."""


class Medium(StrEnum):
    WIRED = "wired"
    WIFI = "wifi"
    CELLULAR = "cellular"


class PortSetup(Struct, frozen=True):
    """A port with addresses. ``is_management``: the node may reach its controller by it."""

    label: str
    interface: str
    medium: Medium = Medium.WIRED
    ip: IpSetup = IpSetup()
    cost: int = 0
    is_management: bool = True
    mtu: int = 0
    """0 = as it is."""
    proxy: ProxySetup = ProxySetup()
    wifi: tuple[WifiNetwork, ...] = ()
    cellular: CellularSetup = CellularSetup()
    network_id: str = ""


class PortsSetup(Struct, frozen=True):
    """All ports of one config. Empty = the controller leaves them to the node."""

    ports: tuple[PortSetup, ...] = ()
    bonds: tuple[BondSetup, ...] = ()
    vlans: tuple[VlanSetup, ...] = ()
    bridges: tuple[BridgeSetup, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    """What of it cannot be done; the rest is."""

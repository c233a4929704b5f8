"""Wi-Fi and cellular settings of a port; their secrets come sealed to this device."""

from __future__ import annotations

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.port_model import CellularSetup, Families, WifiNetwork, WifiScheme
from eaves.node.desired.secret import Secret
from eaves.wire.pb.config.netconfig_pb2 import WifiConfig, WirelessConfig
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

_SCHEMES = {
    netcmn.SchemeNOOP: WifiScheme.OPEN,
    netcmn.WPAPSK: WifiScheme.WPA_PSK,
    netcmn.WPAEAP: WifiScheme.WPA_EAP,
}
_FAMILIES = {
    netcmn.CELLULAR_IP_TYPE_IPV4_AND_IPV6: Families.BOTH,
    netcmn.CELLULAR_IP_TYPE_IPV6: Families.IPV6_ONLY,
}


def parse_wifi(config: WirelessConfig, draft: Draft) -> tuple[WifiNetwork, ...]:
    """The networks to join. Raises ObjectError when there is none or a secret cannot be read."""
    networks = tuple(_parse_network(entry, draft) for entry in config.wifiCfg)
    if not networks:
        raise ObjectError("no wireless network is named for it", code="WifiInvalid", resolution="name its network")
    return networks


def _parse_network(entry: WifiConfig, draft: Draft) -> WifiNetwork:
    ssid = clean_name(entry.wifiSSID)
    if not 0 < len(ssid.encode()) <= 32:
        raise ObjectError("the name of its wireless network must have 1 to 32 bytes", code="WifiInvalid")
    if entry.keyScheme not in _SCHEMES:
        raise ObjectError(f"key scheme {entry.keyScheme} is not known", code="WifiInvalid")
    identity, password = entry.identity, entry.password
    if entry.HasField("cipherData"):
        secrets = draft.decrypt(entry.cipherData)
        identity, password = secrets.wifiUserName, secrets.wifiPassword
    authority, server = entry.eaves.ca_pem, clean_name(entry.eaves.server_name)
    return WifiNetwork(ssid, _SCHEMES[entry.keyScheme], identity, Secret(password), entry.priority, authority, server)


def parse_cellular(config: WirelessConfig, draft: Draft) -> CellularSetup:
    """The access point of the SIM card in use. Raises ObjectError when a secret cannot be read."""
    if not config.cellularCfg:
        return CellularSetup()
    settings = config.cellularCfg[0]
    if not settings.access_points:
        return CellularSetup(apn=clean_name(settings.APN))
    slot = settings.activated_sim_slot
    point = next((entry for entry in settings.access_points if entry.sim_slot == slot), settings.access_points[0])
    username = password = pin = ""
    if point.HasField("cipher_data"):
        secrets = draft.decrypt(point.cipher_data)
        username, password = secrets.cellular_net_username, secrets.cellular_net_password
        pin = secrets.eaves.sim_pin
    return CellularSetup(
        apn=clean_name(point.apn),
        username=username,
        password=Secret(password),
        pin=_parse_pin(pin),
        attach_apn=clean_name(point.attach_apn),
        forbid_roaming=point.forbid_roaming,
        families=_FAMILIES.get(point.ip_type, Families.IPV4),
    )


def _parse_pin(pin: str) -> Secret:
    # A card counts a malformed one as a wrong one.
    if pin and not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 8):
        raise ObjectError("the PIN of its SIM card must have 4 to 8 digits", code="CellularInvalid")
    return Secret(pin)

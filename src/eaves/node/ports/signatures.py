"""Settings of a profile as D-Bus values: NetworkManager refuses a number of another width.

Types are those of the NetworkManager reference (nm-settings-dbus).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from eaves.node.ports.bus import Variant
from eaves.node.ports.model import Settings, Value

_TYPES = {
    "connection.autoconnect-priority": "i",
    "connection.autoconnect-retries": "i",
    "802-3-ethernet.mtu": "u",
    "802-11-wireless.mtu": "u",
    "802-11-wireless.ssid": "ay",
    "802-1x.ca-cert": "ay",
    "gsm.mtu": "u",
    "vlan.id": "u",
    "ipv4.route-metric": "x",
    "ipv6.route-metric": "x",
    "ipv4.dhcp-timeout": "i",
    "ipv4.address-data": "aa{sv}",
    "ipv6.address-data": "aa{sv}",
    "bond.options": "a{ss}",
    "user.data": "a{ss}",
}


def encode_settings(
    settings: Settings, connection: Mapping[str, Value] = MappingProxyType({})
) -> dict[str, dict[str, Any]]:
    """``a{sa{sv}}``; ``connection`` replaces values of that section."""
    merged = {**settings, "connection": {**settings["connection"], **connection}}
    return {
        section: {key: _encode(f"{section}.{key}", value) for key, value in values.items()}
        for section, values in merged.items()
    }


def _encode(name: str, value: Value) -> Any:
    kind = _TYPES.get(name)
    if kind == "aa{sv}":
        assert isinstance(value, list)
        entries = [dict(entry) for entry in value if isinstance(entry, dict)]
        return Variant(
            kind, [{"address": Variant("s", e["address"]), "prefix": Variant("u", e["prefix"])} for e in entries]
        )
    if kind is not None:
        return Variant(kind, value)
    if isinstance(value, bool):
        return Variant("b", value)
    return Variant("as" if isinstance(value, list) else "s", value)

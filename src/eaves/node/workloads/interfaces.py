"""Counters of apps' interfaces, read from the host's ends. Blocking."""

from __future__ import annotations

from pathlib import Path

from eaves.node.networks.addressing import derive_link
from eaves.node.observed import InterfaceStatus, InterfaceUsage

_COUNTERS = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_dropped", "tx_dropped")


def observe_interfaces(prefix: str, app_id: str, interfaces: tuple[InterfaceStatus, ...]) -> tuple[InterfaceUsage, ...]:
    """Counters of an app's interfaces, from the host's ends: what the host receives, the app has sent."""
    found = []
    for interface in interfaces:
        folder = Path("/sys/class/net") / derive_link(prefix, app_id, interface.name) / "statistics"
        try:
            count = {name: int((folder / name).read_text()) for name in _COUNTERS}
        except (OSError, ValueError):
            continue
        found.append(
            InterfaceUsage(
                name=interface.name,
                network_id=interface.network_id,
                rx_bytes=count["tx_bytes"],
                tx_bytes=count["rx_bytes"],
                rx_packets=count["tx_packets"],
                tx_packets=count["rx_packets"],
                rx_dropped=count["tx_dropped"],
                tx_dropped=count["rx_dropped"],
            )
        )
    return tuple(found)

"""What the metadata server looks up on the host when it is asked: addresses, counters, figures of the machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

from eaves.node.networks.model import Layout, WantedBridge

_GET_ADDRESS = 0x8915
_METRICS_EVERY_S = 1.0
_ANYWHERE = ("192.0.2.1", 9)
"""An address for documentation: nothing is sent to it, the kernel only chooses a way."""
_COUNTERS = {
    "TxBytes": "rx_bytes",
    "RxBytes": "tx_bytes",
    "TxPkts": "rx_packets",
    "RxPkts": "tx_packets",
    "TxDrops": "rx_dropped",
    "RxDrops": "tx_dropped",
    "TxErrors": "rx_errors",
    "RxErrors": "tx_errors",
}
"""What the app calls it → the host end's file, where receiving is the app's sending."""


async def find_external(bridge: WantedBridge) -> str:
    """The node's IPv4 address by which apps of this bridge leave; empty when there is no way out."""
    return "" if bridge.air_gapped else await asyncio.to_thread(_find_address, bridge.uplink)


def _find_address(uplink: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            if uplink:
                answer = fcntl.ioctl(probe.fileno(), _GET_ADDRESS, struct.pack("256s", uplink.encode()[:15]))
                return socket.inet_ntoa(answer[20:24])
            probe.connect(_ANYWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return ""


async def load_interfaces(app_id: str, layout: Layout) -> list[dict[str, Any]]:
    """Counters of each interface of the app, as the app sees them."""
    mine = [vif for vif in layout.vifs if vif.app_id == app_id]
    return await asyncio.to_thread(lambda: [_load_interface(vif.inside, vif.link) for vif in mine])


def _load_interface(name: str, link: str) -> dict[str, Any]:
    folder = Path("/sys/class/net") / link
    counters: dict[str, Any] = {"IfName": name, "Up": _read(folder / "operstate") != "down"}
    for key, file in _COUNTERS.items():
        counters[key] = int(_read(folder / "statistics" / file) or 0)
    return counters


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class HostMetrics:
    """Figures of the machine in Prometheus' text form under node_exporter's names, at most once a second."""

    def __init__(self) -> None:
        self._asked_at = -_METRICS_EVERY_S

    async def render(self) -> str | None:
        """None when it was asked too soon."""
        now = time.monotonic()
        if now - self._asked_at < _METRICS_EVERY_S:
            return None
        self._asked_at = now
        return await asyncio.to_thread(_render_metrics)


def _render_metrics() -> str:
    lines = []
    for name, value in _load_figures():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# TYPE {name.partition('{')[0]} {kind}", f"{name} {value}"]
    return "".join(f"{line}\n" for line in lines)


def _load_figures() -> list[tuple[str, float]]:
    load = os.getloadavg()
    memory = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines())
    stat = dict(line.split(" ", 1) for line in _read(Path("/proc/stat")).splitlines())
    disk = os.statvfs("/")
    figures = [(f"node_load{minutes}", value) for minutes, value in zip((1, 5, 15), load, strict=True)]
    figures += [
        (f"node_memory_{name}_bytes", int(memory.get(name, "0 kB").split()[0]) * 1024)
        for name in ("MemTotal", "MemAvailable", "MemFree")
    ]
    figures += [
        ("node_boot_time_seconds", float(stat.get("btime", "0"))),
        ("node_context_switches_total", float(stat.get("ctxt", "0"))),
        ("node_time_seconds", time.time()),
        ('node_filesystem_size_bytes{mountpoint="/"}', disk.f_blocks * disk.f_frsize),
        ('node_filesystem_avail_bytes{mountpoint="/"}', disk.f_bavail * disk.f_frsize),
    ]
    return figures

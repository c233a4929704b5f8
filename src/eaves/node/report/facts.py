"""Facts about the machine, read from /proc, /sys, DMI and ``ip``; structs here, no protobuf.

Everything that cannot be read stays empty: hardware lacks this or that, and a container host hides more.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError

_DMI = Path("/sys/class/dmi/id")
_TICKS = os.sysconf("SC_CLK_TCK")
_REAL_FILE_SYSTEMS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "erofs", "overlay", "bcachefs"}
_DISK_PREFIXES = ("sd", "vd", "nvme", "mmcblk", "xvd", "hd")
_SECTOR_BYTES = 512


class Machine(Struct, frozen=True):
    """What does not change while the machine is up."""

    architecture: str = ""
    cpus: int = 0
    cpu_model: str = ""
    memory_bytes: int = 0
    hostname: str = ""
    kernel: str = ""
    kernel_cmdline: str = ""
    os_name: str = ""
    boot_time: float = 0.0
    manufacturer: str = ""
    product: str = ""
    product_version: str = ""
    product_uuid: str = ""
    serial: str = ""
    bios_vendor: str = ""
    bios_version: str = ""
    bios_date: str = ""
    compatible: str = ""
    has_tpm: bool = False
    has_watchdog: bool = False
    has_virtualization: bool = False
    has_iommu: bool = False


class Mount(Struct, frozen=True):
    """A mounted file system; ``device`` empty for what has none."""

    device: str
    path: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    holds_apps: bool = False


class Disk(Struct, frozen=True):
    """Counters of a block device since boot."""

    name: str
    size_bytes: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


class Port(Struct, frozen=True):
    """A network interface of the host, with counters."""

    name: str
    mac: str
    is_up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_packets: int = 0
    tx_packets: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


class Load(Struct, frozen=True):
    """Use of CPU and memory now."""

    cpu_ns: int
    """Busy time of all CPUs since boot."""
    memory_used_bytes: int
    memory_available_bytes: int
    own_rss_bytes: int


class Eccs(Struct, frozen=True):
    """Error counts of one memory controller; ``ranks`` are (name, correctable, uncorrectable)."""

    name: str
    correctable: int
    uncorrectable: int
    ranks: tuple[tuple[str, int, int], ...] = ()


def load_machine() -> Machine:
    """Read everything that stays; a few milliseconds of file reading, to be called in a thread."""
    cpu_lines = _lines(Path("/proc/cpuinfo"))
    return Machine(
        architecture=platform.machine(),
        cpus=os.cpu_count() or 0,
        cpu_model=_cpu_model(cpu_lines),
        memory_bytes=_memory().get("MemTotal", 0),
        hostname=platform.node(),
        kernel=platform.release(),
        kernel_cmdline=_text(Path("/proc/cmdline")),
        os_name=_os_name(),
        boot_time=_boot_time(),
        manufacturer=_text(_DMI / "sys_vendor"),
        product=_text(_DMI / "product_name") or _text(Path("/proc/device-tree/model")).rstrip("\0"),
        product_version=_text(_DMI / "product_version"),
        product_uuid=_text(_DMI / "product_uuid"),
        serial=_text(_DMI / "product_serial"),
        bios_vendor=_text(_DMI / "bios_vendor"),
        bios_version=_text(_DMI / "bios_version"),
        bios_date=_text(_DMI / "bios_date"),
        compatible=_text(Path("/proc/device-tree/compatible")).replace("\0", " ").strip(),
        has_tpm=Path("/dev/tpmrm0").exists() or Path("/dev/tpm0").exists(),
        has_watchdog=Path("/dev/watchdog").exists(),
        has_virtualization=any(line.startswith("flags") and (" vmx" in line or " svm" in line) for line in cpu_lines),
        has_iommu=any(_entries(Path("/sys/class/iommu"))),
    )


def load_mounts(apps_folder: Path) -> list[Mount]:
    """File systems that hold data; the one of ``apps_folder`` is marked. Blocks on a dead network file system, so it skips those.

    Without those of containers, which lie on one that is told anyway, and those below ``apps_folder``: volumes are told as such.
    """
    found: dict[int, Mount] = {}
    try:
        apps_device = apps_folder.stat().st_dev
    except OSError:
        apps_device = -1
    for line in _lines(Path("/proc/self/mounts")):
        device, path, kind, *_ = line.split(" ")
        if kind not in _REAL_FILE_SYSTEMS:
            continue
        path = path.replace("\\040", " ")
        try:
            number, sizes = Path(path).stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        if apps_folder in Path(path).parents or (kind == "overlay" and path != "/" and number != apps_device):
            continue
        # One file system mounted at several places counts once, at its shortest path.
        if number in found and len(found[number].path) <= len(path):
            continue
        total, free = sizes.f_blocks * sizes.f_frsize, sizes.f_bavail * sizes.f_frsize
        used = (sizes.f_blocks - sizes.f_bfree) * sizes.f_frsize
        found[number] = Mount(device if device.startswith("/") else "", path, total, used, free, number == apps_device)
    return sorted(found.values(), key=lambda mount: mount.path)


def load_disks() -> list[Disk]:
    """Whole disks and their counters."""
    disks = []
    for line in _lines(Path("/proc/diskstats")):
        fields = line.split()
        name = fields[2]
        if not name.startswith(_DISK_PREFIXES) or not Path(f"/sys/block/{name}").exists():
            continue
        size = int(_text(Path(f"/sys/block/{name}/size")) or "0") * _SECTOR_BYTES
        reads, read_sectors, writes, write_sectors = (int(fields[index]) for index in (3, 5, 7, 9))
        disks.append(Disk(name, size, read_sectors * _SECTOR_BYTES, write_sectors * _SECTOR_BYTES, reads, writes))
    return disks


def load_load() -> Load:
    """CPU and memory now."""
    memory = _memory()
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    fields = _lines(Path("/proc/stat"))[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    busy = user + nice + system + irq + softirq + steal
    return Load(busy * 10**9 // _TICKS, max(0, total - available), available, load_own_rss_bytes())


def load_eccs() -> list[Eccs]:
    """Error counts of memory controllers that the kernel watches."""
    return [
        Eccs(folder.name, _number(folder / "ce_count"), _number(folder / "ue_count"), tuple(_ranks(folder)))
        for folder in _entries(Path("/sys/devices/system/edac/mc"))
        if folder.name.startswith("mc")
    ]


async def load_ports() -> list[Port]:
    """Interfaces of the host's own network except loopback and the ends of other namespaces' pairs; empty when ``ip`` fails."""
    try:
        links = await process.run(["ip", "-j", "-s", "addr", "show"], timeout_s=10)
        routes = await process.run(["ip", "-j", "route", "show", "default"], timeout_s=10)
        return parse_ports(links.stdout, routes.stdout)
    except (EavesError, msgspec.DecodeError):
        return []


def parse_ports(links: bytes, routes: bytes) -> list[Port]:
    """Interfaces from the JSON of ``ip -s addr`` and ``ip route``."""
    routers: dict[str, list[str]] = {}
    for route in msgspec.json.decode(routes.strip() or b"[]"):
        if "gateway" in route:
            routers.setdefault(route.get("dev", ""), []).append(route["gateway"])
    ports = []
    for link in msgspec.json.decode(links.strip() or b"[]"):
        name = str(link.get("ifname", ""))
        if not name or "LOOPBACK" in link.get("flags", ()):
            continue
        port = _parse_port(name, link, tuple(routers.get(name, ())))
        # A machine that is itself a container has its uplink in such a pair; ends that belong to others carry no address.
        if port.addresses or "link_netnsid" not in link:
            ports.append(port)
    return ports


def _parse_port(name: str, link: dict[str, Any], routers: tuple[str, ...]) -> Port:
    stats = link.get("stats64", {})
    rx, tx = stats.get("rx", {}), stats.get("tx", {})
    addresses = tuple(
        f"{entry['local']}/{entry['prefixlen']}"
        for entry in link.get("addr_info", ())
        if "local" in entry and entry.get("scope") == "global"
    )
    return Port(
        name,
        str(link.get("address", "")),
        "LOWER_UP" in link.get("flags", ()),
        int(link.get("mtu", 0)),
        addresses,
        routers,
        *(int(side.get("bytes", 0)) for side in (rx, tx)),
        *(int(side.get("packets", 0)) for side in (rx, tx)),
        *(int(side.get("errors", 0)) for side in (rx, tx)),
        *(int(side.get("dropped", 0)) for side in (rx, tx)),
    )


async def load_resolvers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name servers and search domains of the host."""
    lines = await asyncio.to_thread(_lines, Path("/etc/resolv.conf"))
    words = [line.split() for line in lines]
    servers = tuple(entry[1] for entry in words if len(entry) > 1 and entry[0] == "nameserver")
    searches = [tuple(entry[1:]) for entry in words if len(entry) > 1 and entry[0] == "search"]
    return servers, searches[-1] if searches else ()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _entries(path: Path) -> Iterator[Path]:
    try:
        yield from sorted(path.iterdir())
    except OSError:
        return


def _ranks(folder: Path) -> Iterator[tuple[str, int, int]]:
    for rank in _entries(folder):
        if rank.name.startswith(("rank", "dimm")):
            yield rank.name, _number(rank / "dimm_ce_count"), _number(rank / "dimm_ue_count")


def _memory() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    fields = (line.split() for line in _lines(Path("/proc/meminfo")))
    return {entry[0].rstrip(":"): int(entry[1]) << 10 for entry in fields if len(entry) > 1 and entry[1].isdigit()}


def load_own_rss_bytes() -> int:
    """Resident memory of this daemon."""
    fields = _text(Path("/proc/self/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _cpu_model(lines: Sequence[str]) -> str:
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))), "")


def _os_name() -> str:
    for line in _lines(Path("/etc/os-release")):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _boot_time() -> float:
    fields = (line.split() for line in _lines(Path("/proc/stat")))
    return next((float(entry[1]) for entry in fields if entry[:1] == ["btime"]), 0.0)

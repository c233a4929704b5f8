"""Device info → EdgeNode.status.

Works for real EVE devices, whose messages lack our extension, and for Eaves nodes. What a message does not tell stays
as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    assign,
    compact,
    forget_conditions,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import conclude
from eaves.controller.observe.devicefaults import crash_of, list_faults
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.controller.observe.modems import want_modem
from eaves.controller.observe.pieces import name_of, time_of
from eaves.controller.observe.ports import CONDITION as PORTS_APPLIED
from eaves.controller.observe.ports import port_events, port_facts
from eaves.controller.observe.pressure import DISK, LOW_DISK_SPACE, is_out_of_space
from eaves.kinds.edgenode import PortMedium
from eaves.kinds.times import parse_time, render_time
from eaves.kube.resource import Object
from eaves.wire.pb.evecommon.netcmn_pb2 import Client
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import (
    BootReason,
    DevicePort,
    MaintenanceModeReason,
    ZInfoDevice,
)

MIB = 1 << 20
PODS = 250
"""Apps on one node: a bound for schedulers, far above what a small box can run."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "riscv64": "riscv64"}
_BOOT_TIME_SLACK_S = 60.0
"""A device computes its boot time from a clock that is being set; smaller moves are no reboot."""

_EVE_RESERVE_BYTES = 1024 * MIB
_NODE_RESERVE_BYTES = 128 * MIB


def observe_device(objects: DeviceObjects, info: ZInfoDevice, now: float) -> list[StatusUpdate]:
    """The node by its own report."""
    edgenode = objects.edgenode
    status = status_of(edgenode)
    events = list(_boot_events(edgenode, status, info))
    assign(
        status,
        inventory=_inventory(status, info),
        versions=_versions(status, info),
        addresses=_addresses(info),
        ports=list(_name_ports(info)),
        bootReason=_boot_reason(info),
        problems=[*info.eaves.problems, *list_faults(info)],
        propertyErrors={
            key: item.error for key, item in sorted(info.configItemStatus.configItems.items()) if item.error
        },
        restartCounter=info.restartCounter,
        lastSeen=render_time(now),
    )
    assign(status, bootTime=_steady_boot_time(status, info))
    status |= _resources(info)
    _note_config(status, info)
    set_conditions(
        status,
        [
            *_facts(status, info),
            *port_facts(info),
            Fact("Connected", TRUE, "InContact", "the device calls"),
            *config_facts(status),
        ],
        now,
    )
    if not any(port_facts(info)):
        forget_conditions(status, {PORTS_APPLIED})
    events.extend(port_events(edgenode.get("status") or {}, status))
    update = plan_update(edgenode, status, [*events, *conclude(edgenode, status, now)])
    return [] if update is None else [update]


def _is_eaves(info: ZInfoDevice) -> bool:
    return info.HasField("eaves") and bool(info.eaves.daemon_version)


def _inventory(status: Status, info: ZInfoDevice) -> dict[str, Any]:
    maker = info.minfo
    bios = " ".join(text for text in (maker.biosVendor, maker.biosVersion, maker.biosReleaseDate) if text)
    hsm = {info_pb2.ENABLED: info.HSMInfo or "Enabled", info_pb2.DISABLED: "Disabled", info_pb2.NOTFOUND: "NotFound"}
    machine = info.machineArch or info.cpuArch
    seen = compact(
        manufacturer=maker.manufacturer,
        product=maker.productName,
        serial=maker.serialNumber,
        bios=bios,
        architecture=_ARCHITECTURES.get(machine, machine),
        cpus=info.ncpu or None,
        memory=str(_memory_bytes(info)) if _memory_bytes(info) else None,
        storage=str(_storage_bytes(info)) if _storage_bytes(info) else None,
        hsm=hsm.get(info.HSMStatus, ""),
    )
    return {**(status.get("inventory") or {}), **seen}


def _versions(status: Status, info: ZInfoDevice) -> dict[str, Any]:
    """Software, told apart by our extension: a device without it is EVE."""
    if _is_eaves(info):
        runtime = f"podman://{info.eaves.podman_version}" if info.eaves.podman_version else ""
        return compact(
            daemon=info.eaves.daemon_version, os=info.eaves.os_name, kernel=info.eaves.kernel, containerRuntime=runtime
        )
    active = next((software for software in info.swList if software.activated), None)
    version = active.shortVersion if active is not None and active.shortVersion else "unknown"
    kernel = (status.get("versions") or {}).get("kernel", "")
    return compact(eve=version, os=f"EVE-OS {version}", kernel=kernel, containerRuntime=f"eve://{version}")


def _ports(info: ZInfoDevice) -> list[DevicePort]:
    """Ports of the port configuration in use."""
    adapters = info.systemAdapter
    index = adapters.currentIndex
    return sorted(adapters.status[index].ports, key=lambda port: port.name) if index < len(adapters.status) else []


def _name_ports(info: ZInfoDevice) -> Iterator[Object]:
    """Each port that has a name, once."""
    ports = {port.name or port.ifname: port for port in reversed(_ports(info))}
    modems = {radio.name: radio for radio in info.cell_radios}
    sims = {sim.name: sim for sim in info.sims}
    return (_port(ports[name], want_modem(ports[name], modems, sims)) for name in sorted(ports) if name)


def _port(port: DevicePort, modem: Object) -> Object:
    medium = {
        info_pb2.WIRELESS_TYPE_WIFI: PortMedium.WIFI,
        info_pb2.WIRELESS_TYPE_CELLULAR: PortMedium.CELLULAR,
    }.get(port.wireless_status.type, PortMedium.ETHERNET)
    return compact(
        name=port.name or port.ifname,
        interface=port.ifname,
        up=port.up,
        management=port.isMgmt,
        medium=str(medium),
        dhcp=port.dhcpType == Client,
        cost=port.cost,
        macAddress=port.macAddr,
        addresses=sorted(port.IPAddrs),
        ntpServers=[server for server in (port.ntpServer, *port.more_ntp_servers) if server],
        modem=modem,
        error=port.err.description,
    )


def _addresses(info: ZInfoDevice) -> list[Object]:
    """Of the management ports by cost (of all when none is marked), IPv4 before IPv6, no link-local ones; the host name last.

    Bridges of app networks are ports of the host too, yet no addresses of the node.
    """
    managed = [port for port in _ports(info) if port.isMgmt] or _ports(info)
    ports = sorted(managed, key=lambda port: (port.cost, port.name))
    found = [address.partition("/")[0] for port in ports for address in port.IPAddrs]
    usable = [address for address in dict.fromkeys(found) if not address.lower().startswith(("fe80:", "169.254."))]
    usable.sort(key=lambda address: ":" in address)
    addresses = [{"type": "InternalIP", "address": address} for address in usable]
    if info.HostName:
        addresses.append({"type": "Hostname", "address": info.HostName})
    return addresses


def _memory_bytes(info: ZInfoDevice) -> int:
    return int(info.eaves.memory_bytes or info.memory * MIB)


def _storage_bytes(info: ZInfoDevice) -> int:
    """Of the file system that holds apps, else of the largest."""
    holding = max((storage.total for storage in info.storageList if storage.storageLocation), default=0)
    largest = max((storage.total for storage in info.storageList), default=0)
    return int(info.eaves.storage_bytes or (holding or largest or info.storage) * MIB)


def _resources(info: ZInfoDevice) -> dict[str, Any]:
    """Capacity, and what is left for apps after the node's own needs."""
    memory, storage = _memory_bytes(info), _storage_bytes(info)
    if not info.ncpu or not memory:
        return {}
    own = max(_NODE_RESERVE_BYTES, memory // 20) if _is_eaves(info) else _EVE_RESERVE_BYTES
    free = max(memory - own, memory // 2) // MIB * MIB
    pods = str(PODS)
    capacity = {"cpu": str(info.ncpu), "memory": str(memory), "pods": pods}
    allocatable = {"cpu": str(info.ncpu), "memory": str(free), "pods": pods}
    if storage:
        capacity["storage"], allocatable["storage"] = str(storage), str(storage * 9 // 10)
    return {"capacity": capacity, "allocatable": allocatable}


def _steady_boot_time(status: Status, info: ZInfoDevice) -> str:
    new = time_of(info.bootTime)
    old = str(status.get("bootTime") or "")
    if not new or not old:
        return new or old
    return old if abs(parse_time(new) - parse_time(old)) < _BOOT_TIME_SLACK_S else new


def _boot_reason(info: ZInfoDevice) -> str:
    """``BOOT_REASON_POWER_FAIL`` → ``PowerFail``."""
    words = name_of(BootReason, info.last_boot_reason).removeprefix("BOOT_REASON_").split("_")
    return "" if words == ["UNSPECIFIED"] else "".join(word.capitalize() for word in words)


def _boot_events(edgenode: Object, status: Status, info: ZInfoDevice) -> Iterator[EventNote]:
    before = status.get("restartCounter")
    if before is None or not info.restartCounter or info.restartCounter == before:
        return
    crash = crash_of(info.last_boot_reason)
    text = f"node {edgenode['metadata']['name']} booted ({_boot_reason(info) or 'reason not known'}{f', {crash}' if crash else ''})"
    yield EventNote(
        EventType.WARNING, "Rebooted", f"{text}: {info.lastRebootReason}" if info.lastRebootReason else text
    )


def _facts(status: Status, info: ZInfoDevice) -> Iterator[Fact]:
    reasons = [
        reason for reason in info.maintenance_mode_reasons if reason != info_pb2.MAINTENANCE_MODE_REASON_USER_REQUESTED
    ]
    disk_is_low = info_pb2.MAINTENANCE_MODE_REASON_LOW_DISK_SPACE in reasons
    if disk_is_low:
        yield Fact(
            DISK,
            TRUE,
            LOW_DISK_SPACE,
            "the device stopped its apps because its disk is nearly full; free space",
        )
    elif is_out_of_space(status):
        yield Fact(DISK, FALSE, "StorageSufficient", "the device runs its apps again")
    if reasons:
        names = ", ".join(
            name_of(MaintenanceModeReason, reason).removeprefix("MAINTENANCE_MODE_REASON_").lower().replace("_", " ")
            for reason in reasons
        )
        yield Fact("Operational", FALSE, "MaintenanceMode", f"the device went into maintenance by itself: {names}")
    elif info.reboot_inprogress or info.state == info_pb2.ZDEVICE_STATE_REBOOTING:
        yield Fact("Operational", FALSE, "Rebooting", "the device is going down for a reboot")
    elif info.state in (info_pb2.ZDEVICE_STATE_PREPARED_POWEROFF, info_pb2.ZDEVICE_STATE_PREPARING_POWEROFF):
        yield Fact(
            "Operational", FALSE, "ShutDown", "its apps are stopped for power off; reboot it to start them again"
        )
    else:
        yield Fact("Operational", TRUE, "Operational", "")


def _note_config(status: Status, info: ZInfoDevice) -> None:
    """Which config an Eaves node says it has applied; EVE does not tell here (see ``observe_config_poll``)."""
    if not info.eaves.config_hash:
        return
    config = {**(status.get("config") or {}), "applied": info.eaves.config_hash}
    applied = time_of(info.eaves.config_applied_at)
    if applied:
        config["appliedTime"] = applied
    status["config"] = config


def config_facts(status: Status) -> list[Fact]:
    """ConfigApplied by the hashes wanted and applied; nothing before a config was made."""
    config = status.get("config") or {}
    wanted, applied = config.get("wanted"), config.get("applied")
    if not wanted:
        return []
    if wanted == applied:
        return [Fact("ConfigApplied", TRUE, "Applied", "the device works by the config made last")]
    if not applied:
        return [Fact("ConfigApplied", FALSE, "NotFetched", "the device has not taken a config yet")]
    return [
        Fact(
            "ConfigApplied",
            FALSE,
            "Pending",
            "the device has not taken the config made last yet; it does at its next poll",
        )
    ]

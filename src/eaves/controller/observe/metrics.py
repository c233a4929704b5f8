"""Metrics messages: their summary, which ``kubectl top`` and the pressure conditions of a node are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct

from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg, appCpuMetric, deviceMetric, diskMetric

MIB = 1 << 20
NANOS = 10**9

_LONGEST_RUN_S = 20 * 365 * 86_400
"""An ``upTime`` up to here is how long the run lasts already, as EVE writes it (pillar, cmd/zedagent/handlemetrics.go); a later one is
when it began, as an Eaves node does."""

_APP_FOLDERS = (PurePosixPath("/persist"), PurePosixPath("/var/lib/eaves"))
"""Where EVE and an Eaves node keep what belongs to apps."""
_WAYS_TO_APPS = frozenset(path for folder in _APP_FOLDERS for path in (folder, *folder.parents))


class Usage(Struct, frozen=True):
    """Counters at one moment. ``cpu_ns`` is cumulative; 0 totals are not known."""

    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_total_bytes: int = 0
    storage_bytes: int = 0
    storage_total_bytes: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    started_at: float = 0.0
    """When the counters began, in Unix seconds; 0 = not known."""


class MetricsSummary(Struct, frozen=True):
    """One message in short. ``at`` is the device's time in Unix seconds; apps are by id."""

    at: float
    node: Usage
    apps: Mapping[str, Usage]
    dormant_s: int = 0
    """How long the device may be silent before its figures mean nothing; 0 = not told."""


def summarise_metrics(message: ZMetricMsg) -> MetricsSummary:
    """The figures that operators ask for."""
    at = _seconds(message.atTimeStamp)
    apps = {}
    for app in message.am:
        apps[app.AppID] = Usage(
            cpu_ns=_cpu_ns(app.cpu),
            memory_bytes=(app.appMemory.usedMB or app.memory.usedMem) * MIB,
            memory_total_bytes=app.appMemory.allocatedMB * MIB,
            storage_bytes=sum(disk.used for disk in app.disk) * MIB,
            storage_total_bytes=sum(disk.provisioned for disk in app.disk) * MIB,
            rx_bytes=sum(network.rxBytes for network in app.network),
            tx_bytes=sum(network.txBytes for network in app.network),
            started_at=_start_of(app.cpu, at),
        )
    return MetricsSummary(
        at=at,
        node=summarise_device(message.dm, at),
        apps=apps,
        dormant_s=message.dm.dormant_time_in_seconds,
    )


def summarise_device(device: deviceMetric, at: float = 0.0) -> Usage:
    """The figures of the node itself, told at ``at``; storage is that of the file system which holds its apps."""
    total = device.deviceMemory.memoryMB * MIB
    used = device.memory.usedMem * MIB
    if not used and device.deviceMemory.memoryMB:
        # EVE gives no use of the whole machine: what it uses itself and what it gave to apps is the nearest.
        used = (device.deviceMemory.used_eveMB + device.deviceMemory.allocated_appsMB) * MIB
    storage = _find_storage(device)
    return Usage(
        cpu_ns=_cpu_ns(device.cpuMetric),
        memory_bytes=used,
        memory_total_bytes=total,
        storage_bytes=storage.used * MIB if storage is not None else 0,
        storage_total_bytes=storage.total * MIB if storage is not None else 0,
        rx_bytes=sum(network.rxBytes for network in device.network),
        tx_bytes=sum(network.txBytes for network in device.network),
        started_at=_start_of(device.cpuMetric, at),
    )


def _find_storage(device: deviceMetric) -> diskMetric | None:
    """The file system that holds apps, which is the innermost on the way to their folder; the largest where there is none."""
    mounts = [disk for disk in device.disk if disk.mountPath and disk.total]
    holding = [disk for disk in mounts if PurePosixPath(disk.mountPath) in _WAYS_TO_APPS]
    if holding:
        return max(holding, key=lambda disk: len(PurePosixPath(disk.mountPath).parts))
    return max(mounts, key=lambda disk: disk.total, default=None)


def _cpu_ns(cpu: appCpuMetric) -> int:
    return int(cpu.total_ns or cpu.total * NANOS)


def _start_of(cpu: appCpuMetric, at: float) -> float:
    told = _seconds(cpu.upTime)
    return at - told if 0 < told <= _LONGEST_RUN_S else told


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / NANOS

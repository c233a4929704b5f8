"""Metrics messages: their summary, which ``kubectl top`` is computed from, and the pressure conditions of a node."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    condition_status,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import conclude
from eaves.controller.observe.model import StatusUpdate
from eaves.kube.resource import Object
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg, appCpuMetric, deviceMetric

MIB = 1 << 20
NANOS = 10**9

_HIGH, _LOW = 0.90, 0.85
"""Pressure begins above the first share in use and ends below the second."""

_MEMORY_HIGH, _MEMORY_LOW = 0.95, 0.90


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
            started_at=_seconds(app.cpu.upTime),
        )
    return MetricsSummary(
        at=_seconds(message.atTimeStamp),
        node=_node_usage(message.dm),
        apps=apps,
        dormant_s=message.dm.dormant_time_in_seconds,
    )


def _node_usage(device: deviceMetric) -> Usage:
    total = device.deviceMemory.memoryMB * MIB
    used = device.memory.usedMem * MIB
    if not used and device.deviceMemory.memoryMB:
        # EVE gives no use of the whole machine: what it uses itself and what it gave to apps is the nearest.
        used = (device.deviceMemory.used_eveMB + device.deviceMemory.allocated_appsMB) * MIB
    mounts = [disk for disk in device.disk if disk.mountPath and disk.total]
    storage = max(mounts, key=lambda disk: disk.total, default=None)
    return Usage(
        cpu_ns=_cpu_ns(device.cpuMetric),
        memory_bytes=used,
        memory_total_bytes=total,
        storage_bytes=storage.used * MIB if storage is not None else 0,
        storage_total_bytes=storage.total * MIB if storage is not None else 0,
        rx_bytes=sum(network.rxBytes for network in device.network),
        tx_bytes=sum(network.txBytes for network in device.network),
        started_at=_seconds(device.cpuMetric.upTime),
    )


def _cpu_ns(cpu: appCpuMetric) -> int:
    return int(cpu.total_ns or cpu.total * NANOS)


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / NANOS


def observe_metrics(edgenode: Object, summary: MetricsSummary, now: float) -> StatusUpdate | None:
    """DiskPressure and MemoryPressure of a node; None as long as they stay."""
    status = status_of(edgenode)
    node = summary.node
    facts = []
    if node.storage_total_bytes:
        share = node.storage_bytes / node.storage_total_bytes
        facts.append(_pressure(status, "DiskPressure", "storage", share, _HIGH, _LOW))
    if node.memory_total_bytes:
        share = node.memory_bytes / node.memory_total_bytes
        facts.append(_pressure(status, "MemoryPressure", "memory", share, _MEMORY_HIGH, _MEMORY_LOW))
    if all(condition_status(status, fact.type) == fact.status for fact in facts):
        return None
    set_conditions(status, facts, now)
    return plan_update(edgenode, status, conclude(edgenode, status, now))


def _pressure(status: Mapping[str, object], kind: str, what: str, share: float, high: float, low: float) -> Fact:
    limit = low if condition_status(status, kind) == TRUE else high
    if share > limit:
        return Fact(kind, TRUE, f"{what.capitalize()}Full", f"more than {limit:.0%} of the node's {what} is in use")
    return Fact(kind, FALSE, f"{what.capitalize()}Sufficient", f"the node has {what} left")

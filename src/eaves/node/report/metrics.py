"""Counters of machine, apps, networks and volumes → one ZMetricMsg; and memory error counts → ZHardwareHealth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct, field

from eaves.node.flows.model import FlowFigures
from eaves.node.link.decryption import CipherFigures
from eaves.node.link.traffic import WayFigures
from eaves.node.link.uploads import LogFigures
from eaves.node.observed import AppUsage, InterfaceUsage, NetworkStatus, VolumeStatus
from eaves.node.observed_cluster import ClusterUsage
from eaves.node.ports.modem_model import Signal
from eaves.node.report.facts import Disk, Eccs, Load, Machine, Mount, Port
from eaves.node.report.modems import want_cellular_metrics
from eaves.node.report.networks import KIND_NUMBERS
from eaves.node.report.pieces import want_mib, want_time, want_time_ns
from eaves.node.volumes.model import Enforcement
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import (
    DimmRankInfo,
    ECCMemoryControllerInfo,
    ECCMemoryReport,
    ZHardwareHealth,
)
from eaves.wire.pb.metrics import metrics_pb2
from eaves.wire.pb.metrics.metrics_pb2 import (
    AppMemoryMetric,
    AppPatchEnvelopeMetric,
    CipherMetric,
    DeviceMemoryMetric,
    FlowlogCounters,
    FlowlogMetric,
    KubeClusterMetrics,
    KubeNodeMetrics,
    NetworkStats,
    TypeCounter,
    ZMetricMsg,
    ZMetricNetworkInstance,
    ZMetricNetworkStats,
    ZMetricVolume,
    appCpuMetric,
    appDiskMetric,
    appMetric,
    deviceMetric,
    diskMetric,
    memoryMetric,
    networkMetric,
    newlogMetric,
    urlcloudMetric,
    zedcloudMetric,
)

_NANOS = 10**9
_UINT32_MAX = 2**32 - 1
_AGENT = "eaves"
_TREE, _RAW = "CONTAINER", "raw"


class MetricsView(Struct, frozen=True, kw_only=True):
    """Everything that one metrics message tells."""

    machine: Machine
    load: Load
    ports: Sequence[Port] = ()
    """All interfaces, bridges of networks too."""
    labels: Mapping[str, str] = {}
    """Label of an interface that has another one than its name."""
    signals: Mapping[str, Signal] = {}
    """Label of a port that is a modem → how well it hears the network."""
    mounts: Sequence[Mount] = ()
    disks: Sequence[Disk] = ()
    apps: Sequence[AppUsage] = ()
    cluster: ClusterUsage | None = None
    started_at: Mapping[str, float] = {}
    """App id → start of its container."""
    networks: Sequence[NetworkStatus] = ()
    volumes: Sequence[VolumeStatus] = ()
    ciphers: CipherFigures = field(default_factory=CipherFigures)
    traffic: Mapping[str, WayFigures] = {}
    """By the label of the way out, empty = the host's own routing."""
    with_calls: bool = True
    """Tell each call too; kilobytes that a controller of Eaves makes nothing of."""
    logs: LogFigures = LogFigures()
    flows: FlowFigures = FlowFigures()
    config_received_ns: int = 0
    config_processed_ns: int = 0
    interval_s: int = 60


def want_metrics(device_id: str, view: MetricsView, now: float) -> ZMetricMsg:
    """The one message with everything."""
    message = ZMetricMsg(devID=device_id, atTimeStamp=want_time(now))
    message.dm.CopyFrom(_want_device(view, now))
    message.am.extend(_want_app(usage, view, now) for usage in view.apps)
    counters = {port.name: port for port in view.ports}
    message.nm.extend(_want_network(status, counters.get(status.bridge)) for status in view.networks)
    message.vm.extend(
        ZMetricVolume(
            uuid=status.id,
            displayName=status.name,
            totalBytes=status.size_bytes,
            usedBytes=status.used_bytes,
            freeBytes=max(0, status.size_bytes - status.used_bytes),
        )
        for status in view.volumes
    )
    if view.cluster is not None:
        message.cm.CopyFrom(_want_cluster(view.cluster))
    return message


def want_health(device_id: str, eccs: Sequence[Eccs], now: float) -> ZHardwareHealth:
    """Error counts of the memory controllers; none where the kernel watches none."""
    controllers = [
        ECCMemoryControllerInfo(
            controller_name=ecc.name,
            ce_count=ecc.correctable,
            ue_count=ecc.uncorrectable,
            ranks=[DimmRankInfo(rank_name=name, ce_count=ce, ue_count=ue) for name, ce, ue in ecc.ranks],
        )
        for ecc in eccs
    ]
    return ZHardwareHealth(
        dev_id=device_id, at_time_stamp=want_time(now), mr=ECCMemoryReport(memory_controllers=controllers)
    )


def _want_cluster(usage: ClusterUsage) -> KubeClusterMetrics:
    """Of this node alone; the field for memory ends at 4 GiB, the percentage does not."""
    node = KubeNodeMetrics(
        name=usage.node_name,
        cpu_cores=usage.cpu_millis,
        cpu_usage=usage.cpu_percent,
        memory_usage=min(usage.memory_bytes, _UINT32_MAX),
        memory_usage_percentage=usage.memory_percent,
    )
    return KubeClusterMetrics(cluster_id=usage.id, nodes=[node])


def _want_device(view: MetricsView, now: float) -> deviceMetric:
    load, machine = view.load, view.machine
    total = max(1, machine.memory_bytes)
    bridges = {status.bridge for status in view.networks}
    return deviceMetric(
        memory=memoryMetric(
            usedMem=want_mib(load.memory_used_bytes),
            availMem=want_mib(load.memory_available_bytes),
            usedPercentage=100 * load.memory_used_bytes / total,
            availPercentage=100 * load.memory_available_bytes / total,
        ),
        deviceMemory=DeviceMemoryMetric(
            memoryMB=want_mib(machine.memory_bytes),
            allocated_appsMB=want_mib(sum(usage.memory_limit_bytes for usage in view.apps)),
            used_eveMB=want_mib(load.own_rss_bytes),
        ),
        network=[_want_port(port, view.labels) for port in view.ports if port.name not in bridges],
        cellular=want_cellular_metrics(
            view.signals,
            {label: interface for interface, label in view.labels.items()},
            {port.name: port for port in view.ports},
        ),
        zedcloud=[
            _want_traffic(label or _find_way(view), way, with_calls=view.with_calls)
            for label, way in view.traffic.items()
        ],
        disk=[*(_want_disk(disk) for disk in view.disks), *(_want_mount(mount) for mount in view.mounts)],
        cpuMetric=appCpuMetric(
            upTime=_want_lasting(machine.boot_time, now),
            total=load.cpu_ns // _NANOS,
            systemTotal=load.cpu_ns // _NANOS,
            total_ns=load.cpu_ns,
        ),
        cipher=[_want_ciphers(view.ciphers)],
        newlog=_want_logs(view.logs),
        flowlog=_want_flows(view.flows),
        last_received_config=want_time_ns(view.config_received_ns),
        last_processed_config=want_time_ns(view.config_processed_ns),
        appRunTimeStorageMB=want_mib(sum(status.used_bytes for status in view.volumes)),
        dormant_time_in_seconds=3 * view.interval_s,
    )


def _want_app(usage: AppUsage, view: MetricsView, now: float) -> appMetric:
    limit = max(1, usage.memory_limit_bytes)
    return appMetric(
        AppID=usage.id,
        appVersion=usage.version,
        AppName=usage.name,
        cpu=appCpuMetric(
            upTime=_want_lasting(view.started_at.get(usage.id, 0.0), now),
            total=usage.cpu_ns // _NANOS,
            systemTotal=view.load.cpu_ns // _NANOS,
            total_ns=usage.cpu_ns,
        ),
        memory=memoryMetric(
            usedMem=want_mib(usage.memory_bytes),
            availMem=want_mib(max(0, usage.memory_limit_bytes - usage.memory_bytes)),
            usedPercentage=100 * usage.memory_bytes / limit if usage.memory_limit_bytes else 0.0,
        ),
        appMemory=AppMemoryMetric(allocatedMB=want_mib(usage.memory_limit_bytes), usedMB=want_mib(usage.memory_bytes)),
        network=[_want_interface(interface) for interface in usage.interfaces],
        patch_envelope=[
            AppPatchEnvelopeMetric(
                uuid=use.patch_id,
                version=use.version,
                patch_api_call_count=use.calls,
                download_count=use.downloads,
            )
            for use in usage.patches
        ],
        disk=_want_app_disks(usage, view.volumes),
    )


def _want_app_disks(usage: AppUsage, volumes: Sequence[VolumeStatus]) -> list[appDiskMetric]:
    """The root that a container's engine made, and the volumes that are there, by their paths."""
    found = []
    if usage.disk_used_bytes is not None:
        used = want_mib(usage.disk_used_bytes)
        found.append(appDiskMetric(disk="root", used=used, provisioned=used, diskType=_TREE))
    found += [_want_app_disk(status) for status in volumes if status.path and status.id in usage.volume_ids]
    return found


def _want_app_disk(status: VolumeStatus) -> appDiskMetric:
    """Types as EVE has them: qemu's word for the format of a disk image, and one for a tree of files."""
    kind = status.format.lower() or (_RAW if status.enforcement == Enforcement.IMAGE else _TREE)
    return appDiskMetric(
        disk=status.path,
        used=want_mib(status.used_bytes),
        provisioned=want_mib(max(status.size_bytes, status.used_bytes)),
        diskType=kind,
    )


def _want_interface(usage: InterfaceUsage) -> networkMetric:
    return networkMetric(
        iName=usage.name,
        txBytes=usage.tx_bytes,
        rxBytes=usage.rx_bytes,
        txPkts=usage.tx_packets,
        rxPkts=usage.rx_packets,
        txDrops=usage.tx_dropped,
        rxDrops=usage.rx_dropped,
    )


def _want_port(port: Port, labels: Mapping[str, str]) -> networkMetric:
    return networkMetric(
        iName=labels.get(port.name, port.name),
        localName=port.name,
        txBytes=port.tx_bytes,
        rxBytes=port.rx_bytes,
        txPkts=port.tx_packets,
        rxPkts=port.rx_packets,
        txDrops=port.tx_dropped,
        rxDrops=port.rx_dropped,
        txErrors=port.tx_errors,
        rxErrors=port.rx_errors,
    )


def _want_network(status: NetworkStatus, bridge: Port | None) -> ZMetricNetworkInstance:
    metric = ZMetricNetworkInstance(
        networkID=status.id,
        networkVersion=status.version,
        instType=KIND_NUMBERS.get(status.kind, 0),
        displayname=status.name,
        activated=status.active,
    )
    if bridge is not None:
        metric.network.append(_want_port(bridge, {}))
        metric.networkStats.CopyFrom(
            ZMetricNetworkStats(
                rx=NetworkStats(totalPackets=bridge.rx_packets, totalBytes=bridge.rx_bytes, drops=bridge.rx_dropped),
                tx=NetworkStats(totalPackets=bridge.tx_packets, totalBytes=bridge.tx_bytes, drops=bridge.tx_dropped),
            )
        )
    return metric


def _want_disk(disk: Disk) -> diskMetric:
    return diskMetric(
        disk=disk.name,
        readBytes=want_mib(disk.read_bytes),
        writeBytes=want_mib(disk.write_bytes),
        readCount=disk.reads,
        writeCount=disk.writes,
        total=want_mib(disk.size_bytes),
    )


def _want_mount(mount: Mount) -> diskMetric:
    return diskMetric(
        disk=mount.device,
        mountPath=mount.path,
        total=want_mib(mount.total_bytes),
        used=want_mib(mount.used_bytes),
        free=want_mib(mount.free_bytes),
    )


def _want_lasting(start: float, now: float) -> Timestamp | None:
    """How long something runs already, in the form of a time: so EVE fills ``upTime``, and so controllers read it."""
    return want_time(now - start) if start > 0 else None


def _find_way(view: MetricsView) -> str:
    """The interface by which the host's own routing leaves, as far as one can tell."""
    return next((view.labels.get(port.name, port.name) for port in view.ports if port.routers), "")


def _want_traffic(name: str, way: WayFigures, *, with_calls: bool) -> zedcloudMetric:
    return zedcloudMetric(
        ifName=name,
        failures=way.failures,
        success=way.successes,
        lastFailure=want_time(way.last_failure),
        lastSuccess=want_time(way.last_success),
        authVerifyFailure=way.forged,
        urlMetrics=[
            urlcloudMetric(
                url=url,
                tryMsgCount=call.tries,
                tryByteCount=call.tried_bytes,
                sentMsgCount=call.sent,
                sentByteCount=call.sent_bytes,
                recvMsgCount=call.received,
                recvByteCount=call.received_bytes,
                total_time_spent=call.milliseconds,
            )
            for url, call in (way.calls.items() if with_calls else ())
        ],
    )


def _want_ciphers(ciphers: CipherFigures) -> CipherMetric:
    counts = {
        metrics_pb2.CIPHER_ERROR_NOT_READY: ciphers.not_ready,
        metrics_pb2.CIPHER_ERROR_DECRYPT_FAILED: ciphers.failed,
    }
    return CipherMetric(
        agent_name=_AGENT,
        failure_count=sum(counts.values()),
        success_count=ciphers.successes,
        last_failure=want_time(ciphers.last_failure),
        last_success=want_time(ciphers.last_success),
        tc=[TypeCounter(error_code=code, count=count) for code, count in counts.items() if count],
    )


def _want_flows(flows: FlowFigures) -> FlowlogMetric:
    sent, dropped, failed = flows.sent, flows.dropped, flows.failed
    return FlowlogMetric(
        messages=FlowlogCounters(success=sent.messages, drops=dropped.messages, failed_attempts=failed.messages),
        flows=FlowlogCounters(success=sent.flows, drops=dropped.flows, failed_attempts=failed.flows),
        dns_requests=FlowlogCounters(success=sent.dns, drops=dropped.dns, failed_attempts=failed.dns),
    )


def _want_logs(logs: LogFigures) -> newlogMetric:
    metric = newlogMetric(
        failedToSend=logs.is_failing,
        totalBytesUpload=logs.bytes_sent,
        num4xxResponses=logs.refused,
        tooManyRequest=logs.too_many,
        currentUploadIntv=logs.interval_s,
        gzipFilesRemoved=logs.files_dropped,
    )
    metric.deviceMetrics.numGzipFileSent = logs.device_files_sent
    metric.deviceMetrics.numGzipFileInDir = logs.device_files
    metric.appMetrics.numGzipFileSent = logs.app_files_sent
    metric.appMetrics.numGzipFileInDir = logs.app_files
    return metric

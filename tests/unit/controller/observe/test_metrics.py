"""The summary of a metrics message."""

from __future__ import annotations

from eaves.controller.observe.metrics import MetricsSummary, Usage, summarise_metrics
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg, appDiskMetric, appMetric, diskMetric, networkMetric

NOW = 1795543200.0
MIB = 1 << 20


def test_summary_of_a_full_message() -> None:
    message = ZMetricMsg(devID="d")
    message.atTimeStamp.seconds, message.atTimeStamp.nanos = int(NOW), 500_000_000
    message.dm.cpuMetric.total_ns = 5_000_000_000
    message.dm.memory.usedMem = 1000
    message.dm.deviceMemory.memoryMB = 4000
    message.dm.disk.append(diskMetric(disk="/dev/sda1", mountPath="/", total=100, used=90))
    message.dm.disk.append(diskMetric(disk="/dev/sda2", mountPath="/var/lib/eaves", total=20000, used=5000))
    message.dm.disk.append(diskMetric(disk="sda", total=50000))
    message.dm.network.extend([networkMetric(rxBytes=1, txBytes=2), networkMetric(rxBytes=10, txBytes=20)])
    app = appMetric(AppID="a", disk=[appDiskMetric(used=7)])
    app.cpu.total, app.appMemory.usedMB, app.appMemory.allocatedMB = 3, 64, 256
    message.am.append(app)
    summary = summarise_metrics(message)
    assert summary.at == NOW + 0.5
    assert summary.node == Usage(5_000_000_000, 1000 * MIB, 4000 * MIB, 5000 * MIB, 20000 * MIB, 11, 22)
    assert summary.apps == {"a": Usage(3_000_000_000, 64 * MIB, 256 * MIB, 7 * MIB, 0, 0, 0)}


def test_an_empty_message_is_a_summary_of_nothing() -> None:
    assert summarise_metrics(ZMetricMsg()) == MetricsSummary(0.0, Usage(), {})


def test_memory_of_a_device_that_does_not_tell_its_own_use() -> None:
    message = ZMetricMsg()
    message.dm.deviceMemory.memoryMB, message.dm.deviceMemory.used_eveMB, message.dm.deviceMemory.allocated_appsMB = (
        4000,
        600,
        400,
    )
    assert summarise_metrics(message).node.memory_bytes == 1000 * MIB


def test_storage_is_that_of_the_file_system_which_holds_apps() -> None:
    message = ZMetricMsg()
    message.dm.disk.append(diskMetric(disk="/dev/sdb1", mountPath="/data", total=90000, used=89000))
    message.dm.disk.append(diskMetric(disk="/dev/sda1", mountPath="/", total=20000, used=5000))
    assert summarise_metrics(message).node.storage_bytes == 5000 * MIB
    message.dm.disk.append(diskMetric(disk="/dev/sda2", mountPath="/var/lib", total=30000, used=6000))
    assert summarise_metrics(message).node.storage_bytes == 6000 * MIB


def test_storage_of_a_device_that_keeps_apps_elsewhere_is_the_largest() -> None:
    message = ZMetricMsg()
    message.dm.disk.append(diskMetric(disk="/dev/sda1", mountPath="/boot", total=100, used=90))
    message.dm.disk.append(diskMetric(disk="/dev/sda2", mountPath="/srv", total=20000, used=5000))
    assert summarise_metrics(message).node.storage_bytes == 5000 * MIB


def test_a_run_is_told_by_its_start_or_as_eve_does_by_how_long_it_lasts() -> None:
    message = ZMetricMsg()
    message.atTimeStamp.seconds = 1_795_543_200
    lasting, begun, unknown = (message.am.add(AppID=name) for name in ("lasting", "begun", "unknown"))
    lasting.cpu.upTime.seconds = 3600
    begun.cpu.upTime.seconds = 1_795_543_200 - 60
    message.dm.cpuMetric.upTime.seconds = 86_400
    unknown.cpu.total_ns = 1
    summary = summarise_metrics(message)
    assert [message.atTimeStamp.seconds - usage.started_at for usage in summary.apps.values()] == [
        3600,
        60,
        1_795_543_200,
    ]
    assert summary.node.started_at == 1_795_543_200 - 86_400

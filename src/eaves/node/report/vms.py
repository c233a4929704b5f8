"""What is seen of a virtual machine and of snapshots → their parts of ZInfoApp."""

from __future__ import annotations

from eaves.node.observed_vm import SnapshotState, SnapshotStatus, VmStatus
from eaves.node.report.pieces import want_time
from eaves.wire.pb.eaves.extension_pb2 import GuestInterface, SnapshotInfoExtension, VmInfo
from eaves.wire.pb.info.common_pb2 import SEVERITY_ERROR, SEVERITY_WARNING, ErrorInfo
from eaves.wire.pb.info.info_pb2 import SNAPSHOT_TYPE_APP_UPDATE, SNAPSHOT_TYPE_IMMEDIATE, ZInfoSnapshot


def want_vm_info(status: VmStatus) -> VmInfo:
    """The machine as it runs."""
    return VmInfo(
        accelerator=status.accelerator,
        firmware=status.firmware,
        machine=status.machine,
        vtpm=status.has_vtpm,
        serial_console=status.has_serial_console,
        vnc=status.has_vnc,
        guest_agent=status.agent,
        guest_os=status.guest_os,
        guest_hostname=status.guest_hostname,
        guest_interfaces=[
            GuestInterface(name=interface.name, mac_address=interface.mac, addresses=interface.addresses)
            for interface in status.guest_interfaces
        ],
        paused_reason=status.paused_reason,
        note=status.note,
    )


def want_snapshot_info(status: SnapshotStatus) -> ZInfoSnapshot:
    """One snapshot."""
    info = ZInfoSnapshot(
        id=status.id,
        config_version=status.app_version,
        type=SNAPSHOT_TYPE_IMMEDIATE if status.is_immediate else SNAPSHOT_TYPE_APP_UPDATE,
        eaves=SnapshotInfoExtension(state=status.state, size_bytes=status.size_bytes, with_memory=status.with_memory),
    )
    if (created := want_time(status.created_at)) is not None:
        info.create_time.CopyFrom(created)
    if status.error:
        severity = SEVERITY_ERROR if status.state is SnapshotState.FAILED else SEVERITY_WARNING
        info.snap_err.CopyFrom(
            ErrorInfo(description=status.error, severity=severity, timestamp=want_time(status.error_at))
        )
    return info

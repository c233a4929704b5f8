"""What system runs, and what became of the one that the controller asks for → ``swList`` of the device info.

The operating system of a node is its owner's: a base OS in the config is refused, in the form in which a device of the field tells that an
update failed, so that a controller neither waits nor believes.
"""

from __future__ import annotations

from eaves.node.desired.model import DesiredBaseOs
from eaves.node.report.pieces import want_time
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.info.common_pb2 import DeviceEntity, ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoDevSW

PARTITION = "IMGA"
"""The device API wants the name of a system partition; a node on somebody's Linux has one system."""
_OTHER_PARTITION = "IMGB"

REFUSAL = "the system of this node is updated by its owner, not by the device API"


def want_software(version: str, os_name: str, base_os: DesiredBaseOs | None, now: float) -> list[ZInfoDevSW]:
    """The system in use, and beside it the refused one if another version is asked for."""
    current = ZInfoDevSW(
        activated=True,
        partitionLabel=PARTITION,
        partitionState="active",
        status=info_pb2.INSTALLED,
        shortVersion=version,
        longVersion=f"eaves {version} on {os_name}",
        userStatus=info_pb2.UPDATED,
    )
    if base_os is None or base_os.version == version:
        # Controllers of EVE count on two places for a system, one of them empty.
        empty = ZInfoDevSW(partitionLabel=_OTHER_PARTITION, partitionState="unused", status=info_pb2.INITIAL)
        return [current, empty]
    error = ErrorInfo(
        description=REFUSAL,
        timestamp=want_time(now),
        severity=common_pb2.SEVERITY_ERROR,
        entities=[DeviceEntity(entity=common_pb2.ENTITY_BASE_OS, entity_name=base_os.version)],
        retry_condition="never",
    )
    refused = ZInfoDevSW(
        partitionLabel=_OTHER_PARTITION,
        partitionState="unused",
        status=info_pb2.INITIAL,
        shortVersion=base_os.version,
        swErr=error,
        userStatus=info_pb2.FAILED,
        subStatusStr=REFUSAL,
    )
    return [current, refused]

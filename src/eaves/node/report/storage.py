"""Volume and image status → ZInfoVolume and ZInfoContentTree."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.desired.model import ConfigProblem
from eaves.node.observed import Fault, ImageState, ImageStatus, VolumeSnapshotStatus, VolumeState, VolumeStatus
from eaves.node.report.pieces import want_error, want_message, want_problem_error, want_time
from eaves.wire.pb.eaves.extension_pb2 import VolumeInfoExtension, VolumeSnapshotInfo
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import ENTITY_CONTENT_TREE, ENTITY_VOLUME, DeviceEntity, Entity, ErrorInfo
from eaves.wire.pb.info.info_pb2 import (
    ContentResources,
    UsageInfo,
    VolumeResources,
    ZInfoContentTree,
    ZInfoMsg,
    ZInfoVolume,
)

_IMAGE_STATES = {
    ImageState.WAITING: info_pb2.INITIAL,
    ImageState.RESOLVING: info_pb2.RESOLVING_TAG,
    ImageState.DOWNLOADING: info_pb2.DOWNLOAD_STARTED,
    ImageState.VERIFYING: info_pb2.VERIFYING,
    ImageState.CONVERTING: info_pb2.LOADING,
    ImageState.LOADED: info_pb2.LOADED,
    ImageState.FAILED: info_pb2.ERROR,
}
_VOLUME_STATES = {
    VolumeState.WAITING: info_pb2.INITIAL,
    VolumeState.CREATING: info_pb2.CREATING_VOLUME,
    VolumeState.READY: info_pb2.CREATED_VOLUME,
    VolumeState.FAILED: info_pb2.ERROR,
}
_SOURCE_STATES = _IMAGE_STATES | {ImageState.FAILED: info_pb2.DOWNLOAD_STARTED}
"""Of a volume that waits for its image. An image that cannot be had is no failure of the volume: as with EVE it stays where it is and
tells the image's error."""


def want_image_info(device_id: str, status: ImageStatus, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about one image, with its download's progress."""
    size_bytes = status.size_bytes if status.state is ImageState.LOADED else status.downloaded_bytes
    message = want_message(device_id, info_pb2.ZiContentTree, now)
    message.cinfo.CopyFrom(
        ZInfoContentTree(
            uuid=status.id,
            displayName=status.name,
            sha256=status.digest.removeprefix("sha256:"),
            resources=ContentResources(curSizeBytes=size_bytes),
            usage=UsageInfo(refCount=1),
            state=_IMAGE_STATES[status.state],
            progressPercentage=status.progress_percent,
            generation_count=status.generation,
            componentShaList=_list_components(status),
            err=_want_error(ENTITY_CONTENT_TREE, status.id, status.name, status.fault, problems, now),
        )
    )
    return message


def _list_components(status: ImageStatus) -> list[str]:
    digests = [blob.digest for blob in status.blobs] or list(filter(None, (status.digest,)))
    return [digest.removeprefix("sha256:") for digest in digests]


def want_volume_info(
    device_id: str,
    status: VolumeStatus,
    problems: Sequence[ConfigProblem],
    now: float,
    *,
    source: ImageStatus | None = None,
    references: int = 1,
) -> ZInfoMsg:
    """The message about one volume. ``source``: the image that one which is not there yet is made from; its progress is the volume's."""
    is_ready = status.state is VolumeState.READY
    state, error = _VOLUME_STATES[status.state], None
    if source is not None and status.state is VolumeState.WAITING:
        state = _SOURCE_STATES[source.state]
        error = _want_error(ENTITY_CONTENT_TREE, source.id, source.name, source.fault, (), now)
    message = want_message(device_id, info_pb2.ZiVolume, now)
    message.vinfo.CopyFrom(
        ZInfoVolume(
            uuid=status.id,
            displayName=status.name,
            resources=VolumeResources(maxSizeBytes=status.size_bytes, curSizeBytes=status.used_bytes),
            usage=UsageInfo(refCount=references),
            state=state,
            progressPercentage=100 if is_ready else source.progress_percent if source is not None else 0,
            generation_count=status.generation,
            volumeErr=error or _want_error(ENTITY_VOLUME, status.id, status.name, status.fault, problems, now),
            eaves=VolumeInfoExtension(
                mode=status.mode,
                format=status.format,
                enforcement=status.enforcement,
                allocated_bytes=status.allocated_bytes,
                encrypted=status.is_encrypted,
                users=status.users,
                snapshots=[_want_snapshot(snapshot) for snapshot in status.snapshots],
                rollback_counter=status.rollback_counter,
            ),
        )
    )
    return message


def _want_snapshot(status: VolumeSnapshotStatus) -> VolumeSnapshotInfo:
    return VolumeSnapshotInfo(
        id=status.id,
        state=str(status.state),
        taken_at=want_time(status.taken_at) if status.taken_at else None,
        size_bytes=status.size_bytes,
        message=status.message,
    )


def want_refused_image_info(device_id: str, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about an image that cannot be tried at all."""
    first = problems[0]
    name = first.element.partition(" ")[2]
    message = want_message(device_id, info_pb2.ZiContentTree, now)
    message.cinfo.CopyFrom(
        ZInfoContentTree(
            uuid=first.object_id,
            displayName=name,
            state=info_pb2.ERROR,
            err=_want_error(ENTITY_CONTENT_TREE, first.object_id, name, None, problems, now),
        )
    )
    return message


def want_refused_volume_info(device_id: str, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about a volume that cannot be tried at all."""
    first = problems[0]
    name = first.element.partition(" ")[2]
    message = want_message(device_id, info_pb2.ZiVolume, now)
    message.vinfo.CopyFrom(
        ZInfoVolume(
            uuid=first.object_id,
            displayName=name,
            state=info_pb2.ERROR,
            volumeErr=_want_error(ENTITY_VOLUME, first.object_id, name, None, problems, now),
        )
    )
    return message


def want_removed_image_info(device_id: str, image_id: str, now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiContentTree, now)
    message.cinfo.uuid = image_id
    return message


def want_removed_volume_info(device_id: str, volume_id: str, now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiVolume, now)
    message.vinfo.uuid = volume_id
    return message


def _want_error(
    kind: Entity.ValueType,
    object_id: str,
    name: str,
    fault: Fault | None,
    problems: Sequence[ConfigProblem],
    now: float,
) -> ErrorInfo | None:
    """These messages have room for one error: what was observed comes before what the config asks wrongly."""
    entity = DeviceEntity(entity=kind, entity_id=object_id, entity_name=name)
    if fault is not None:
        return want_error(fault, entity)
    return want_problem_error(problems[0], entity, now) if problems else None

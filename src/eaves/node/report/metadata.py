"""What the metadata server has to tell the controller: data that apps posted, and the state of patch envelopes."""

from __future__ import annotations

from eaves.node.observed_patches import PatchState, PatchStatus
from eaves.node.report.pieces import want_message
from eaves.wire.pb.info import info_pb2, patch_envelope_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoAppInstMetaData, ZInfoMsg
from eaves.wire.pb.info.patch_envelope_pb2 import ZInfoPatchEnvelope

_DATA_KINDS = {
    "kubeconfig": info_pb2.APP_INST_META_DATA_TYPE_KUBE_CONFIG,
    "customStatus": info_pb2.APP_INST_META_DATA_TYPE_CUSTOM_STATUS,
}
_STATES = {
    PatchState.ERROR: patch_envelope_pb2.PATCH_ERROR,
    PatchState.RECEIVED: patch_envelope_pb2.PATCH_RECEIVED,
    PatchState.DOWNLOADING: patch_envelope_pb2.PATCH_DOWNLOADING,
    PatchState.DOWNLOADED: patch_envelope_pb2.PATCH_DOWNLOADED,
    PatchState.READY: patch_envelope_pb2.PATCH_READY,
    PatchState.ACTIVE: patch_envelope_pb2.PATCH_ACTIVE,
}


def want_app_data_info(device_id: str, app_id: str, kind: str, data: bytes, now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiAppInstMetaData, now)
    message.amdinfo.CopyFrom(ZInfoAppInstMetaData(uuid=app_id, type=_DATA_KINDS[kind], data=data))
    return message


def want_patch_info(device_id: str, status: PatchStatus, now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiPatchEnvelope, now)
    message.patchInfo.CopyFrom(
        ZInfoPatchEnvelope(
            name=status.name,
            id=status.id,
            version=status.version,
            state=_STATES[status.state],
            size=status.size_bytes,
            errors=status.errors,
        )
    )
    return message


def want_removed_patch_info(device_id: str, patch_id: str, now: float) -> ZInfoMsg:
    """The last message about an envelope: nothing but its id."""
    message = want_message(device_id, info_pb2.ZiPatchEnvelope, now)
    message.patchInfo.id = patch_id
    return message

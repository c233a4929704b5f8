"""What an app posted to its node's metadata server → App.status.customStatus."""

from __future__ import annotations

from eaves.controller.observe.app import find_app
from eaves.controller.observe.conditions import plan_update, status_of
from eaves.controller.observe.model import DeviceObjects, StatusUpdate
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoAppInstMetaData

LIMIT_BYTES = 32 << 10


def observe_app_data(objects: DeviceObjects, info: ZInfoAppInstMetaData) -> list[StatusUpdate]:
    """A custom status is shown as it is; a kubeconfig holds credentials, so it stays in the inbox."""
    app = find_app(objects, info.uuid)
    is_status = info.type == info_pb2.APP_INST_META_DATA_TYPE_CUSTOM_STATUS
    if app is None or not is_status or len(info.data) > LIMIT_BYTES:
        return []
    status = status_of(app)
    status["customStatus"] = info.data.decode(errors="replace")
    update = plan_update(app, status, [])
    return [] if update is None else [update]

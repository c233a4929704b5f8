"""One info message → the updates of the objects that it is about."""

from __future__ import annotations

from eaves.controller.observe.app import observe_app
from eaves.controller.observe.appdata import observe_app_data
from eaves.controller.observe.hardware import observe_hardware
from eaves.controller.observe.model import DeviceObjects, StatusUpdate
from eaves.controller.observe.network import observe_network
from eaves.controller.observe.node import observe_device
from eaves.controller.observe.patches import observe_patch
from eaves.controller.observe.storage import observe_content_tree, observe_volume
from eaves.wire.pb.info.info_pb2 import ZInfoMsg


def observe_info(message: ZInfoMsg, objects: DeviceObjects, now: float) -> list[StatusUpdate]:
    """What to write because of the message (``now`` in Unix seconds). Kinds of content that no object shows give nothing.

    The same message again gives nothing new, so that it may be handled twice after a crash.
    """
    match message.WhichOneof("InfoContent"):
        case "dinfo":
            return observe_device(objects, message.dinfo, now)
        case "hwinfo":
            return observe_hardware(objects, message.hwinfo, now)
        case "ainfo":
            return observe_app(objects, message.ainfo, now)
        case "amdinfo":
            return observe_app_data(objects, message.amdinfo)
        case "patchInfo":
            return observe_patch(objects, message.patchInfo)
        case "niinfo":
            return observe_network(objects, message.niinfo, now)
        case "vinfo":
            return observe_volume(objects, message.vinfo, now)
        case "cinfo":
            return observe_content_tree(objects, message.cinfo, now)
    return []

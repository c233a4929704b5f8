"""Where a patch envelope is, node by node."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.model import Problem
from eaves.controller.observe.compiled import observe_compiled
from eaves.testing.objects import make_app, make_edgenode, make_patch, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2, patch_envelope_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

NOW = 1795543200.0


def tell(objects: ObservedObjects, **fields: Any) -> None:
    message = ZInfoMsg(ztype=info_pb2.ZiPatchEnvelope)
    message.patchInfo.id = uid_of("PatchEnvelope", "settings")
    for name, value in fields.items():
        if name == "errors":
            message.patchInfo.errors.extend(value)
        else:
            setattr(message.patchInfo, name, value)
    objects.tell(message, NOW)


def nodes(objects: ObservedObjects) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = objects.status("PatchEnvelope", "settings").get("nodes", [])
    return found


def test_an_envelope_is_on_its_way_then_active_then_gone() -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_patch())
    objects.take(observe_compiled(objects.objects, "hash", (), NOW))
    assert nodes(objects) == [{"nodeName": "store-17", "state": "Pending"}]
    tell(objects, name="settings", version="1", state=patch_envelope_pb2.PATCH_ACTIVE)
    assert nodes(objects) == [{"nodeName": "store-17", "state": "Active", "version": "1"}]
    writes = objects.writes
    tell(objects, name="settings", version="1", state=patch_envelope_pb2.PATCH_ACTIVE)
    objects.take(observe_compiled(objects.objects, "hash", (), NOW))
    assert objects.writes == writes
    objects.find("PatchEnvelope", "settings")["spec"]["apps"] = ["elsewhere"]
    objects.take(observe_compiled(objects.objects, "hash", (), NOW))
    assert nodes(objects) == []


def test_faults_of_node_and_config_are_told() -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_patch())
    tell(objects, name="settings", version="1", state=patch_envelope_pb2.PATCH_ERROR, errors=["no base64"])
    assert (nodes(objects)[0]["state"], nodes(objects)[0]["message"]) == ("Error", "no base64")
    uid = uid_of("PatchEnvelope", "settings")
    problem = Problem("PatchEnvelope", "default", "settings", "SecretNotFound", "create it", uid)
    for _ in range(2):
        objects.take(observe_compiled(objects.objects, "hash", (problem,), NOW))
    assert nodes(objects)[0]["message"] == "create it"
    assert [event.reason for event in objects.events].count("SecretNotFound") == 1
    objects.take(observe_compiled(objects.objects, "hash", (), NOW))
    assert nodes(objects) == [{"nodeName": "store-17", "state": "Pending"}]

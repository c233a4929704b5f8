"""Objects that guard what they stand for: why one may not be deleted now."""

from __future__ import annotations

from eaves.kinds import appsnapshot, volume, volumesnapshot
from eaves.kinds.volume import ReclaimPolicy
from eaves.kube.resource import Object, Resource


def deletion_fault(resource: Resource, obj: Object) -> str:
    """Why the object may not be deleted; empty when it may. Checked where deletes are admitted, and when its namespace goes."""
    spec = obj.get("spec") or {}
    if resource is volume.RESOURCE and spec.get("reclaimPolicy") == ReclaimPolicy.RETAIN:
        return "spec.reclaimPolicy is Retain, which guards its data; set it to Delete first"
    if resource in (appsnapshot.RESOURCE, volumesnapshot.RESOURCE) and spec.get("retain"):
        return "spec.retain is true, which guards it; set it to false first"
    return ""

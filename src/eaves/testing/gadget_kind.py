"""A made-up kind that has every sort of map and list that server-side apply treats in its own way, for tests of the API machinery."""

from __future__ import annotations

from typing import Any

from eaves.kube.metadata import OBJECT_META
from eaves.kube.resource import Gvr, Object, Resource
from eaves.kube.schema import ListType, MapType, Schema

_TEXT = Schema(type="string")
_NUMBER = Schema(type="integer")

PART = Schema(
    type="object",
    properties={
        "name": _TEXT,
        "image": _TEXT,
        "size": _NUMBER,
        "labels": Schema(type="object", additional=_TEXT),
    },
    required=("name",),
)

PORT = Schema(
    type="object",
    properties={"port": _NUMBER, "protocol": Schema(type="string", default="TCP"), "name": _TEXT},
    required=("port",),
)

SPEC = Schema(
    type="object",
    properties={
        "color": _TEXT,
        "size": _NUMBER,
        "options": Schema(type="object", additional=_TEXT),
        "nested": Schema(
            type="object", properties={"left": _TEXT, "right": _TEXT, "map": Schema(type="object", additional=_TEXT)}
        ),
        "parts": Schema(type="array", items=PART, list_type=ListType.MAP, list_map_keys=("name",)),
        "ports": Schema(type="array", items=PORT, list_type=ListType.MAP, list_map_keys=("port", "protocol")),
        "tags": Schema(type="array", items=_TEXT, list_type=ListType.SET),
        "steps": Schema(type="array", items=_TEXT),
        "whole": Schema(type="object", additional=_TEXT, map_type=MapType.ATOMIC),
        "free": Schema(type="object", preserve_unknown=True),
    },
)

STATUS = Schema(type="object", properties={"phase": _TEXT, "count": _NUMBER})

GADGET = Resource(
    gvr=Gvr("test.eaves.dev", "v1", "gadgets"),
    kind="Gadget",
    singular="gadget",
    namespaced=True,
    schema=Schema(
        type="object",
        properties={"apiVersion": _TEXT, "kind": _TEXT, "metadata": OBJECT_META, "spec": SPEC, "status": STATUS},
    ),
    columns=(),
)


def make_gadget(spec: Object | None = None, *, status: Object | None = None, **metadata: Any) -> Object:
    """A gadget named ``g`` in ``default``."""
    obj: Object = {
        "apiVersion": GADGET.api_version,
        "kind": GADGET.kind,
        "metadata": {"name": "g", "namespace": "default", **metadata},
    }
    if spec is not None:
        obj["spec"] = spec
    if status is not None:
        obj["status"] = status
    return obj

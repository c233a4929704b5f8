"""What an App's image and its Datastore must have in common. Pure; asked by admission, which finds the Datastore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eaves.kinds.app_rules import check_image
from eaves.kinds.app_spec import AppType
from eaves.kinds.datastore import DatastoreType
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object

_FIELDS = ("type", "image", "datastoreRef")


def has_new_image(new: Object, old: Object | None) -> bool:
    """Whether anything changed that :func:`find_image_faults` looks at."""
    return old is None or any(new["spec"].get(name) != old["spec"].get(name) for name in _FIELDS)


def find_image_faults(spec: Mapping[str, Any], store: Object) -> Iterator[FieldError]:
    """Faults of an app whose image comes from ``store``."""
    name, kind = store["metadata"]["name"], store["spec"].get("type", DatastoreType.REGISTRY)
    image = str(spec.get("image", ""))
    is_machine = spec.get("type") == AppType.VIRTUAL_MACHINE
    if kind == DatastoreType.REGISTRY:
        if is_machine:
            yield from check_image("spec.image", image)
    elif not is_machine:
        detail = f"Datastore {name} is of type {kind}; container images come from one of type Registry"
        yield FieldError("spec.datastoreRef.name", CauseType.INVALID, detail, name)
    elif "@sha256:" not in image:
        detail = f"a disk image from Datastore {name} of type {kind} needs its digest: add @sha256:…"
        yield FieldError("spec.image", CauseType.INVALID, detail, image)

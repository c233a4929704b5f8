"""Who owns which field: ``managedFields`` after updates and server-side applies.

The algorithm is structured-merge-diff's: an Update manager owns what it changed; an Apply manager owns exactly what it last applied.
Fields that identify an object or that the server writes are owned by nobody. All functions are pure; ``now`` is RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, structs

from eaves.kube import typed
from eaves.kube.fieldset import EMPTY, FieldSet, Path, field_element, make_set, parse_fields, render_fields
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import MapType

UPDATE = "Update"
APPLY = "Apply"
UPDATE_MANAGERS_LIMIT = 10
"""Older Update managers beyond this are folded together, else objects grow without bound."""
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"

UNOWNED = make_set(
    [
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{key}")
            for key in (
                "creationTimestamp",
                "generation",
                "managedFields",
                "name",
                "namespace",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    ]
)
"""Identity and what the server writes: members, not what is below ``metadata``."""


class Manager(Struct, frozen=True):
    """One entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    fields: FieldSet
    time: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """An applier stays the same one when it applies by another version of the kind."""
        return (self.name, self.operation, "" if self.operation == APPLY else self.api_version, self.subresource)


Managers = list[Manager]


def parse_managers(obj: Object) -> Managers:
    """Entries of an object; what is no FieldsV1 entry is dropped."""
    entries = obj.get("metadata", {}).get("managedFields") or ()
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            parse_fields(entry.get("fieldsV1") or {}),
            entry.get("time", ""),
        )
        for entry in entries
        if entry.get("operation") in (UPDATE, APPLY) and entry.get("apiVersion")
    ]


def render_managers(managers: Iterable[Manager]) -> list[Object]:
    """Entries as they are stored: Apply before Update, then by time and name."""
    ordered = sorted(managers, key=lambda m: (m.operation != APPLY, m.time, m.name, m.api_version, m.subresource))
    rendered = []
    for manager in ordered:
        entry: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
        if manager.time:
            entry["time"] = manager.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = render_fields(manager.fields)
        if manager.subresource:
            entry["subresource"] = manager.subresource
        rendered.append(entry)
    return rendered


def load_managers(resource: Resource, obj: Object) -> Managers:
    """Entries of an object, their fields by the names that these have in ``resource``.

    An entry that was made by another form of the kind (:attr:`Resource.other_forms`) names them as that one does, and keeps its version.
    """
    return [_rename(entry, _names_here(resource, entry)) for entry in parse_managers(obj)]


def name_path(resource: Resource, entry: Manager, path: Path) -> Path:
    """A path in ``resource`` as the entry names it."""
    names = _names_there(resource, entry)
    return (names.get(path[0], path[0]), *path[1:])


def put_managers(resource: Resource, obj: Object, managers: Iterable[Manager]) -> None:
    """Write the entries into the object, in place; each in the names of its own version."""
    named = (_rename(entry, _names_there(resource, entry)) for entry in managers if entry.fields)
    entries = render_managers(named)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def _rename(entry: Manager, names: Mapping[str, str]) -> Manager:
    return structs.replace(entry, fields=entry.fields.rename(names)) if names else entry


def _names_here(resource: Resource, entry: Manager) -> Mapping[str, str]:
    """Elements of the entry → those of ``resource``, where they differ."""
    names = resource.other_forms.get(entry.api_version, {})
    return {field_element(there): field_element(here) for there, here in names.items()}


def _names_there(resource: Resource, entry: Manager) -> Mapping[str, str]:
    return {here: there for there, here in _names_here(resource, entry).items()}


def strip_unowned(resource: Resource, fields: FieldSet, subresource: str = "") -> FieldSet:
    """What a manager may own by a write to the main path or to ``subresource``."""
    return strip_untouched(resource, fields, subresource) - UNOWNED


def strip_untouched(resource: Resource, fields: FieldSet, subresource: str = "") -> FieldSet:
    """Fields without those that a write to the main path or to ``subresource`` leaves as they are, whatever it says of them."""
    if subresource == "status":
        return _only(fields, _STATUS_AND_METADATA if resource.status_has_metadata else _STATUS)
    return _without(fields, _STATUS) if resource.has_status and not subresource else fields


_STATUS = frozenset({"f:status"})
_STATUS_AND_METADATA = _STATUS | {"f:metadata"}


def _only(fields: FieldSet, elements: frozenset[str]) -> FieldSet:
    below = {element: fields.children[element] for element in elements if element in fields.children}
    return FieldSet(fields.members & elements, below)


def _without(fields: FieldSet, elements: frozenset[str]) -> FieldSet:
    return FieldSet(fields.members - elements, {e: c for e, c in fields.children.items() if e not in elements})


def is_reset(obj: Object) -> bool:
    """``managedFields: [{}]`` in a request gives up all tracking until the next apply; an empty list means as they were."""
    return (obj.get("metadata") or {}).get("managedFields") == [{}]


def track_create(resource: Resource, obj: Object, manager: str, now: str, subresource: str = "") -> None:
    """A create by POST: its manager owns all that the object has, also what defaults added. In place."""
    if is_reset(obj):
        obj["metadata"].pop("managedFields")
        return
    added = find_made(resource, _untracked(obj))
    # Entries that the request brings are about fields that it creates: those are the creator's.
    given = [structs.replace(entry, fields=entry.fields - added) for entry in load_managers(resource, obj)]
    taken = _without(strip_unowned(resource, added), resource.unowned)
    put_managers(resource, obj, _record_update(resource, given, taken, manager, now, subresource))


def track_update(resource: Resource, new: Object, old: Object, manager: str, now: str, subresource: str = "") -> None:
    """An update or patch: its manager takes what it changed or added, everyone loses what is gone. ``new`` is filled in place.

    An object without managedFields stays so until the next apply.
    """
    if is_reset(new) and not subresource:
        new["metadata"].pop("managedFields")
        return
    # A request may carry managedFields of its own (kubectl's upgrade from client-side apply does); absent means as they were.
    managers = [] if subresource else load_managers(resource, new)
    managers = managers or load_managers(resource, old)
    if not managers:
        new["metadata"].pop("managedFields", None)
        return
    before, after = (with_zeros(resource, _untracked(obj)) for obj in (old, new))
    difference = typed.compare(resource.schema, before, after)
    taken = strip_unowned(resource, difference.added | difference.changed, subresource) - _structures(resource)
    lost = strip_untouched(resource, difference.removed, subresource) | taken
    left = [structs.replace(entry, fields=entry.fields - lost) for entry in managers] if lost else list(managers)
    put_managers(resource, new, _record_update(resource, left, taken, manager, now, subresource))


def find_made(resource: Resource, obj: Object) -> FieldSet:
    """All that somebody put into an object, beside what is always there."""
    difference = typed.compare(resource.schema, with_zeros(resource, {"metadata": {}}), with_zeros(resource, obj))
    return (difference.added | difference.changed) - _structures(resource)


def _structures(resource: Resource) -> FieldSet:
    """Fields of Kubernetes' own types that are always there, as structures within structures are in Go: nobody adds them."""
    if resource.is_custom:
        return EMPTY
    paths = [
        (f"f:{name}",)
        for name, child in resource.schema.properties.items()
        if child.properties and not child.optional and child.map_type is not MapType.ATOMIC
    ]
    return make_set(paths)


def _untracked(obj: Object) -> Object:
    """The object without managedFields, which nobody owns."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def with_zeros(resource: Resource, obj: Object) -> Object:
    """The object with the fields that are written though they are empty."""
    return {**resource.zero_fields, **obj} if resource.zero_fields else obj


def without_zeros(resource: Resource, obj: Object) -> Object:
    """The object as it is stored and compared: such fields count as absent, however they are empty."""
    if all(obj.get(name, True) for name in resource.zero_fields):
        return obj
    return {name: value for name, value in obj.items() if value or name not in resource.zero_fields}


def _record_update(
    resource: Resource, managers: Managers, taken: FieldSet, name: str, now: str, subresource: str
) -> Managers:
    """The entries after an Update manager took fields; one that took none is not recorded."""
    if not taken:
        return managers
    mine = Manager(name, UPDATE, resource.api_version, subresource, taken, now)
    had = next((entry for entry in managers if entry.identity == mine.identity), None)
    if had is not None:
        mine = structs.replace(mine, fields=taken | had.fields)
    return _fold_ancient([*(entry for entry in managers if entry.identity != mine.identity), mine])


def _fold_ancient(managers: Managers) -> Managers:
    """Update managers beyond the limit, oldest first, as one entry a version of the kind (the API server's capManagers)."""
    updates = [entry for entry in managers if entry.operation == UPDATE and entry.fields]
    excess = len(updates) - UPDATE_MANAGERS_LIMIT
    if excess <= 0:
        return managers
    buckets: dict[str, Managers] = {}
    for entry in sorted(updates, key=lambda m: (m.time, m.name, m.api_version, m.subresource)):
        bucket = buckets.setdefault(entry.api_version, [])
        # The first one of a version makes room for none by itself.
        excess -= bool(bucket)
        bucket.append(entry)
        if excess == 0:
            break
    folded = [entry for bucket in buckets.values() if len(bucket) > 1 for entry in bucket]
    rest = [entry for entry in managers if not any(entry is other for other in folded)]
    for version, bucket in buckets.items():
        if len(bucket) > 1:
            fields = union_fields(bucket)
            rest.append(Manager(ANCIENT, UPDATE, version, "", fields, bucket[-1].time))
    return rest


def union_fields(managers: Iterable[Manager]) -> FieldSet:
    """What any of the managers owns."""
    fields = EMPTY
    for manager in managers:
        fields = fields | manager.fields
    return fields


def same_but_tracking(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two objects differ at most in managedFields and resourceVersion: then a write is none."""
    if {k: v for k, v in one.items() if k != "metadata"} != {k: v for k, v in other.items() if k != "metadata"}:
        return False
    ignored = ("managedFields", "resourceVersion")
    a = {key: value for key, value in (one.get("metadata") or {}).items() if key not in ignored}
    b = {key: value for key, value in (other.get("metadata") or {}).items() if key not in ignored}
    return a == b

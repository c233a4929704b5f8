"""Who owns which field: ``managedFields`` after updates and server-side applies.

The algorithm is structured-merge-diff's: an Update manager owns what it changed; an Apply manager owns exactly what it last applied.
Fields that identify an object or that the server writes are owned by nobody. All functions are pure; ``now`` is RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, structs

from eaves.kube import typed
from eaves.kube.fieldset import EMPTY, FieldSet, make_set, parse_fields, render_fields
from eaves.kube.resource import Object, Resource

UPDATE = "Update"
APPLY = "Apply"
UPDATE_MANAGERS_LIMIT = 10
"""Older Update managers beyond this are folded into one, else objects grow without bound."""
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
    """One entry. Its identity is everything but fields and time."""

    name: str
    operation: str
    api_version: str
    subresource: str
    fields: FieldSet
    time: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.name, self.operation, self.api_version, self.subresource)


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
        if entry.get("operation") in (UPDATE, APPLY)
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


def put_managers(obj: Object, managers: Iterable[Manager]) -> None:
    """Write the entries into the object, in place."""
    entries = render_managers(manager for manager in managers if manager.fields)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def strip_unowned(resource: Resource, fields: FieldSet, subresource: str = "") -> FieldSet:
    """What a manager may own by a write to the main path or to ``subresource``."""
    fields = fields - UNOWNED
    if subresource == "status":
        return FieldSet(frozenset(), {}) | _only(fields, "f:status")
    if resource.has_status:
        return FieldSet(fields.members - {"f:status"}, {e: c for e, c in fields.children.items() if e != "f:status"})
    return fields


def _only(fields: FieldSet, element: str) -> FieldSet:
    below = fields.children.get(element)
    return FieldSet(fields.members & {element}, {element: below} if below is not None else {})


def is_reset(obj: Object) -> bool:
    """``managedFields: [{}]`` or ``[]`` in a request gives up all tracking until the next apply."""
    return (obj.get("metadata") or {}).get("managedFields") in ([], [{}])


def track_create(resource: Resource, obj: Object, manager: str, now: str) -> None:
    """A create by POST: its manager owns all that the object has, also what defaults added. In place."""
    if is_reset(obj):
        obj["metadata"].pop("managedFields")
        return
    given = parse_managers(obj)
    fields = strip_unowned(resource, typed.compare(resource.schema, {"metadata": {}}, obj).added)
    put_managers(obj, [*given, Manager(manager, UPDATE, resource.api_version, "", fields, now)])


def track_update(resource: Resource, new: Object, old: Object, manager: str, now: str, subresource: str = "") -> None:
    """An update or patch: its manager takes what it changed or added, everyone loses what is gone. ``new`` is filled in place.

    An object without managedFields stays so until the next apply.
    """
    if is_reset(new) and not subresource:
        new["metadata"].pop("managedFields")
        return
    had, given = old["metadata"].get("managedFields"), new["metadata"].get("managedFields")
    # A request may carry managedFields of its own (kubectl's upgrade from client-side apply does); absent means as they were.
    managers = parse_managers(new if given and not subresource else old)
    if not managers and not had:
        new["metadata"].pop("managedFields", None)
        return
    difference = typed.compare(resource.schema, old, new)
    taken = strip_unowned(resource, difference.added | difference.changed, subresource)
    left = [structs.replace(entry, fields=entry.fields - taken - difference.removed) for entry in managers]
    identity = (manager, UPDATE, resource.api_version, subresource)
    if taken:
        mine = next((entry for entry in left if entry.identity == identity), None)
        fields = taken | mine.fields if mine else taken
        left = [entry for entry in left if entry.identity != identity]
        left = _fold_ancient([*left, Manager(*identity, fields=fields, time=now)], resource)
    put_managers(new, left)


def _fold_ancient(managers: Managers, resource: Resource) -> Managers:
    updates = [m for m in managers if m.operation == UPDATE and not m.subresource and m.name != ANCIENT]
    excess = len(updates) - UPDATE_MANAGERS_LIMIT
    if excess <= 0:
        return managers
    folded = sorted(updates, key=lambda m: m.time)[: excess + 1]
    fields = EMPTY
    for manager in [*folded, *(m for m in managers if m.name == ANCIENT)]:
        fields = fields | manager.fields
    rest = [m for m in managers if m not in folded and m.name != ANCIENT]
    return [*rest, Manager(ANCIENT, UPDATE, resource.api_version, "", fields, folded[-1].time)]


def same_but_tracking(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two objects differ at most in managedFields and resourceVersion: then a write is none."""
    if {k: v for k, v in one.items() if k != "metadata"} != {k: v for k, v in other.items() if k != "metadata"}:
        return False
    ignored = ("managedFields", "resourceVersion")
    a = {key: value for key, value in (one.get("metadata") or {}).items() if key not in ignored}
    b = {key: value for key, value in (other.get("metadata") or {}).items() if key not in ignored}
    return a == b

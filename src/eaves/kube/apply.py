"""Server-side apply: lay a manager's configuration over the live object, take away what it no longer says, settle ownership.

After structured-merge-diff's Updater.Apply and the field manager around it in the Kubernetes API server. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
from msgspec import structs

from eaves.kube import managed, metadata, status, typed
from eaves.kube.errors import ApiError
from eaves.kube.fieldset import EMPTY, FieldSet, Path, render_path
from eaves.kube.managed import APPLY, BEFORE_FIRST_APPLY, UPDATE, Manager, Managers
from eaves.kube.resource import Object, Resource

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Where client-side ``kubectl apply`` remembers what it applied."""


def check_configuration(resource: Resource, configuration: Object) -> None:
    """What an apply body must not have. Raises ApiError 400."""
    if (configuration.get("metadata") or {}).get("managedFields") is not None:
        raise status.bad_request("metadata.managedFields must be nil")
    version, kind = configuration.get("apiVersion") or "", configuration.get("kind") or ""
    if version != resource.api_version or kind != resource.kind:
        # A version without a group is printed with the slash, as Kubernetes prints any group, version and kind.
        shown = version if isinstance(version, str) and "/" in version else f"/{version}"
        raise status.bad_request(f"invalid object type: {shown}, Kind={kind}")


def apply_configuration(
    resource: Resource,
    live: Object | None,
    configuration: Object,
    manager: str,
    now: str,
    *,
    force: bool = False,
    subresource: str = "",
) -> Object:
    """The object after ``manager`` applied ``configuration``, with managedFields; nothing given is changed.

    ``live`` None creates. Defaults are the caller's to add afterwards: an applier does not own them. Raises ApiError 409 with one
    cause a field that another manager owns with another value, unless ``force`` takes them over.
    """
    base: Object = managed.with_zeros(resource, live) if live is not None else {"metadata": {}}
    managers = _load_managers(resource, base, live is not None, now, subresource)
    mine = Manager(manager, APPLY, resource.api_version, subresource, EMPTY)
    last = next((entry for entry in managers if entry.identity == mine.identity), None)
    others = [entry for entry in managers if entry.identity != mine.identity]
    fields = managed.strip_unowned(resource, typed.fields_of(resource.schema, configuration), subresource)
    merged = typed.merge(resource.schema, base, _without_unowned(configuration))
    emptied = EMPTY
    if last is not None and (dropped := last.fields - fields):
        owned = managed.union_fields(others) | fields | managed.UNOWNED
        merged, emptied = typed.prune(resource.schema, merged, dropped, owned)
    difference = typed.compare(resource.schema, base, merged)
    touched = managed.strip_untouched(resource, difference.added | difference.changed, subresource)
    if touched and not force:
        _check_conflicts(resource, base, others, touched, manager)
    # What is emptied is a null for structured-merge-diff, which whoever owned the container still owns.
    removed = difference.removed - emptied
    if lost := touched | managed.strip_untouched(resource, removed, subresource):
        others = [structs.replace(entry, fields=entry.fields - lost) for entry in others]
    # An apply that leaves the object as it is has no time of its own.
    time = now if difference else last.time if last is not None else ""
    # The tree of ``live`` is shared, so what is written below must be a copy of its own.
    merged = {**managed.without_zeros(resource, merged), "metadata": dict(merged["metadata"])}
    managed.put_managers(resource, merged, [*others, structs.replace(mine, fields=fields, time=time)])
    if manager == KUBECTL:
        _save_last_applied(merged, configuration)
    return merged


def _load_managers(resource: Resource, live: Object, exists: bool, now: str, subresource: str) -> Managers:
    """Known managers; an object that nobody tracked belonged to ``before-first-apply``."""
    managers = managed.load_managers(resource, live)
    if managers or not exists:
        return managers
    fields = managed.strip_unowned(resource, managed.find_made(resource, live), subresource)
    return [Manager(BEFORE_FIRST_APPLY, UPDATE, resource.api_version, subresource, fields, now)]


def _without_unowned(configuration: Object) -> Object:
    """A configuration may carry server-written metadata from a get; it does not count.

    Another uid does: then the applier means another object, and the rules for updates refuse it.
    """
    meta = configuration.get("metadata") or {}
    ignored = ("managedFields", "resourceVersion", "creationTimestamp", "generation", "selfLink")
    kept = {key: value for key, value in meta.items() if key not in ignored}
    return {**configuration, "metadata": kept}


def _check_conflicts(resource: Resource, live: Object, others: Managers, touched: FieldSet, manager: str) -> None:
    """Raises ApiError 409 for fields that others own.

    kubectl may take over what it applied itself from the client's side before, as far as nobody changed it since.
    """
    clashes = [(entry, clash) for entry in others if (clash := entry.fields & touched)]
    if clashes and manager == KUBECTL:
        allowed = _load_last_applied(resource, live)
        clashes = [(entry, clash - allowed) for entry, clash in clashes]
    conflicts = [
        (entry, managed.name_path(resource, entry, path)) for entry, clash in clashes for path in clash.paths()
    ]
    if conflicts:
        raise _render_conflicts(conflicts)


def _load_last_applied(resource: Resource, live: Object) -> FieldSet:
    """Fields of the last-applied annotation that are still as they were applied."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        applied = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return EMPTY
    if not isinstance(applied, dict) or applied.get("apiVersion") != resource.api_version:
        return EMPTY
    difference = typed.compare(resource.schema, applied, live)
    fields = typed.fields_of(resource.schema, applied)
    return fields - difference.changed - difference.added - difference.removed


def _save_last_applied(merged: Object, configuration: Object) -> None:
    """Keep the annotation true where there is one, so that going back to client-side apply works; drop one too large. In place."""
    annotations = merged["metadata"].get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return
    meta = dict(configuration.get("metadata") or {})
    if LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
    text = msgspec.json.encode({**configuration, "metadata": meta}, order="sorted").decode() + "\n"
    kept = {**annotations, LAST_APPLIED: text}
    if sum(len(key.encode()) + len(value.encode()) for key, value in kept.items()) > metadata.ANNOTATIONS_LIMIT_BYTES:
        del kept[LAST_APPLIED]
    merged["metadata"]["annotations"] = kept


def _render_conflicts(conflicts: Sequence[tuple[Manager, Path]]) -> ApiError:
    """One cause a field; the message groups them by manager."""
    conflicts = sorted(conflicts, key=lambda pair: (pair[0].name, pair[0].identity))
    causes = [(render_path(path), f"conflict with {_say_manager(entry)}") for entry, path in conflicts]
    if len(conflicts) == 1:
        return status.apply_conflict(f"Apply failed with 1 conflict: {causes[0][1]}: {causes[0][0]}", causes)
    lines: list[str] = []
    for entry in dict.fromkeys(_say_manager(entry) for entry, _ in conflicts):
        lines.append(f"conflicts with {entry}:")
        lines.extend(f"- {render_path(path)}" for other, path in conflicts if _say_manager(other) == entry)
    return status.apply_conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes)


def _say_manager(entry: Manager) -> str:
    text = json.dumps(entry.name, ensure_ascii=False)
    if entry.subresource:
        text += f' with subresource "{entry.subresource}"'
    return f"{text} using {entry.api_version}" if entry.operation == UPDATE else text

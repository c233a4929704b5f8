"""Server-side apply: lay a manager's configuration over the live object, take away what it no longer says, settle ownership.

After structured-merge-diff's Updater.Apply and the field manager around it in the Kubernetes API server. Pure.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import structs

from eaves.kube import managed, status, typed
from eaves.kube.errors import ApiError
from eaves.kube.fieldset import EMPTY, FieldSet, render_path
from eaves.kube.managed import APPLY, BEFORE_FIRST_APPLY, UPDATE, Manager, Managers
from eaves.kube.resource import Object, Resource

MANAGER_LIMIT_BYTES = 128


def check_configuration(resource: Resource, configuration: Object) -> None:
    """What an apply body must not have. Raises ApiError 400."""
    if (configuration.get("metadata") or {}).get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    if configuration.get("apiVersion") != resource.api_version or configuration.get("kind") != resource.kind:
        given = f"{configuration.get('apiVersion')}, Kind={configuration.get('kind')}"
        text = f"incorrect version specified in apply patch. Specified patch version: {given}, expected: {resource.api_version}"
        raise status.bad_request(text)


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
    base: Object = live if live is not None else {"metadata": {}}
    managers = _load_managers(resource, base, live is not None, now)
    identity = (manager, APPLY, resource.api_version, subresource)
    last = next((entry for entry in managers if entry.identity == identity), None)
    others = [entry for entry in managers if entry.identity != identity]
    mine = managed.strip_unowned(resource, typed.fields_of(resource.schema, configuration), subresource)
    merged = typed.merge(resource.schema, base, _without_unowned(configuration))
    if last is not None and last.fields:
        merged = typed.prune(resource.schema, merged, last.fields, _union(others) | mine | managed.UNOWNED)
    difference = typed.compare(resource.schema, base, merged)
    touched = difference.added | difference.changed
    if not force:
        _check_conflicts(others, touched)
    left = [structs.replace(entry, fields=entry.fields - touched - difference.removed) for entry in others]
    is_repeat = last is not None and last.fields == mine and not difference
    time = last.time if last is not None and is_repeat else now
    # The tree of ``live`` is shared, so the metadata that is written below must be a copy of its own.
    merged["metadata"] = dict(merged["metadata"])
    managed.put_managers(merged, [*left, Manager(*identity, fields=mine, time=time)])
    return dict(merged)


def _load_managers(resource: Resource, live: Object, exists: bool, now: str) -> Managers:
    """Known managers; an object that nobody tracked belonged to ``before-first-apply``."""
    managers = managed.parse_managers(live)
    if managers or not exists:
        return managers
    fields = managed.strip_unowned(resource, typed.compare(resource.schema, {"metadata": {}}, live).added)
    return [Manager(BEFORE_FIRST_APPLY, UPDATE, resource.api_version, "", fields, now)]


def _without_unowned(configuration: Object) -> Object:
    """A configuration may carry server-written metadata from a get; it does not count."""
    meta = configuration.get("metadata") or {}
    ignored = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
    kept = {key: value for key, value in meta.items() if key not in ignored}
    return {**configuration, "metadata": kept}


def _union(managers: Managers) -> FieldSet:
    fields = EMPTY
    for manager in managers:
        fields = fields | manager.fields
    return fields


def _check_conflicts(others: Managers, touched: FieldSet) -> None:
    conflicts = [(entry, path) for entry in others for path in (entry.fields & touched).paths()]
    if conflicts:
        raise _render_conflicts(conflicts)


def _render_conflicts(conflicts: list[tuple[Manager, tuple[str, ...]]]) -> ApiError:
    """One cause a field; the message groups them by manager."""
    conflicts = sorted(conflicts, key=lambda pair: (_say_manager(pair[0]), pair[1]))
    causes = [(render_path(path), f"conflict with {_say_manager(entry)}") for entry, path in conflicts]
    if len(conflicts) == 1:
        return status.apply_conflict(f"Apply failed with 1 conflict: {causes[0][1]}: {causes[0][0]}", causes)
    lines: list[str] = []
    for entry in dict.fromkeys(_say_manager(entry) for entry, _ in conflicts):
        lines.append(f"conflicts with {entry}:")
        lines.extend(f"- {render_path(path)}" for other, path in conflicts if _say_manager(other) == entry)
    return status.apply_conflict(f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines), causes)


def _say_manager(entry: Manager) -> str:
    text: Any = json.dumps(entry.name, ensure_ascii=False)
    if entry.subresource:
        text += f' with subresource "{entry.subresource}"'
    return f"{text} using {entry.api_version}" if entry.operation == UPDATE else str(text)

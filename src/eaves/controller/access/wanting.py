"""Makes the first roles and bindings, and gives back at each start what somebody took from them. Called by bootstrap.

As a kube-apiserver does: rules and subjects that are missing are added, those that were added stay. Beyond it, rules that an older
release of the controller granted and this one does not are taken back, since nobody else would ever do it. An object whose annotation
``autoupdate`` is ``false`` is left alone; a binding to another role is made anew, since its reference cannot be changed.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Sequence

import msgspec

from eaves.controller.access.aggregating import aggregate
from eaves.controller.access.defaults import AUTOUPDATE, default_bindings, default_roles, list_granted
from eaves.controller.objects import Objects, want_put
from eaves.kinds.times import render_time
from eaves.kube import rbac
from eaves.kube.resource import Object
from eaves.store.abc import Put
from eaves.store.errors import ConflictError

_ATTEMPTS = 5
_DEPTH = 3
"""Aggregated roles may be made of aggregated roles: admin of edit, edit of view."""


async def want_access(objects: Objects, clock: Callable[[], float] = time.time) -> None:
    """Every default role and binding, in one commit; the aggregated roles have their rules at once."""
    for _ in range(_ATTEMPTS):
        known = [*await objects.list("ClusterRole"), *await objects.list("ClusterRoleBinding")]
        writes = [_put(obj, render_time(clock())) for obj in plan_access(known)]
        if not writes:
            return
        try:
            await objects.store.commit(writes)
        except ConflictError:
            continue
        return


def plan_access(known: Sequence[Object]) -> list[Object]:
    """The objects to be written: new ones without a uid, others with the version that they replace. Pure."""
    before = {(obj["kind"], obj["metadata"]["name"]): obj for obj in known}
    after = dict(before)
    for wanted in (*default_roles(), *default_bindings()):
        place = (wanted["kind"], wanted["metadata"]["name"])
        after[place] = repair(before[place], wanted) if place in before else wanted
    for _ in range(_DEPTH):
        roles = [obj for (kind, _), obj in after.items() if kind == "ClusterRole"]
        for role in roles:
            if role.get("aggregationRule") is not None:
                after["ClusterRole", role["metadata"]["name"]] = {**role, "rules": aggregate(role, roles)}
    return [obj for place, obj in after.items() if obj != before.get(place)]


def _put(obj: Object, now: str) -> Put:
    meta = obj["metadata"]
    expected = int(meta.get("resourceVersion", 0))
    if "uid" not in meta:
        obj = {**obj, "metadata": {**meta, "uid": str(uuid.uuid4()), "creationTimestamp": now}}
    return want_put(obj, expected)


def repair(known: Object, wanted: Object) -> Object:
    """``known`` with what it lacks of ``wanted``; itself when it lacks nothing or must be left alone. Pure."""
    meta = known["metadata"]
    if (meta.get("annotations") or {}).get(AUTOUPDATE) == "false":
        return known
    repaired = copy.deepcopy(known)
    for part in ("labels", "annotations"):
        repaired["metadata"][part] = {**(meta.get(part) or {}), **wanted["metadata"][part]}
    if "roleRef" in wanted:
        if known["roleRef"] != wanted["roleRef"]:
            repaired["roleRef"] = wanted["roleRef"]
            del repaired["metadata"]["uid"]
        subjects = known.get("subjects") or []
        repaired["subjects"] = [*subjects, *(each for each in wanted["subjects"] if each not in subjects)]
    elif "aggregationRule" in wanted:
        repaired["aggregationRule"] = wanted["aggregationRule"]
    else:
        repaired["rules"] = _merge_rules(known, wanted)
    return repaired


def _merge_rules(known: Object, wanted: Object) -> list[Object]:
    """Of three: what the role has, what it is to have, and what the controller gave it last."""
    held, right = rbac.parse_rules(known.get("rules")), rbac.parse_rules(wanted["rules"])
    withdrawn = rbac.find_missing(right, _parse_granted(known))
    kept = rbac.subtract(held, withdrawn)
    added = rbac.compact(rbac.find_missing(kept, right))
    # Untouched rules keep the form in which they were stored.
    rest = (known.get("rules") or []) if kept == held else [rbac.render_rule(rule) for rule in kept]
    return [*rest, *(rbac.render_rule(rule) for rule in added)]


def _parse_granted(role: Object) -> tuple[rbac.PolicyRule, ...]:
    try:
        return rbac.parse_rules(list_granted(role))
    except msgspec.ValidationError:
        # Somebody wrote into the annotation.
        return ()

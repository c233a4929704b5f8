"""Conditions, and statuses as plain data.

A condition keeps its ``lastTransitionTime`` as long as its status stays. A status counts as changed only when
something in it other than the time of the last contact did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from msgspec import Struct

from eaves.controller.observe.bounds import bound_status, bound_text
from eaves.controller.observe.model import EventNote, StatusUpdate
from eaves.kinds.fields import ConditionStatus
from eaves.kinds.times import render_time
from eaves.kube.resource import Object

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

Status = dict[str, Any]
"""A ``status`` as decoded JSON."""


class Fact(Struct, frozen=True):
    """What a condition should say."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def with_conditions(
    conditions: Sequence[Mapping[str, Any]], facts: Sequence[Fact], now: float
) -> list[Mapping[str, Any]]:
    """The conditions with these set, in the order of their types."""
    by_type = {str(condition.get("type", "")): condition for condition in conditions}
    for fact in facts:
        by_type[fact.type] = _render_condition(fact, by_type.get(fact.type, {}), now)
    return [by_type[kind] for kind in sorted(by_type)]


def set_conditions(status: Status, facts: Sequence[Fact], now: float) -> None:
    """Sets conditions in a status that is being made."""
    status["conditions"] = with_conditions(status.get("conditions") or [], facts, now)


def _render_condition(fact: Fact, old: Mapping[str, Any], now: float) -> dict[str, Any]:
    status = str(fact.status)
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    return {
        "type": fact.type,
        "status": status,
        "reason": fact.reason,
        "message": fact.message,
        "lastTransitionTime": since or render_time(now),
    }


def forget_conditions(status: Status, kinds: Set[str]) -> None:
    """Takes conditions out that nothing is known of any more."""
    status["conditions"] = [entry for entry in status.get("conditions") or [] if entry.get("type") not in kinds]


def find_condition(conditions: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    for condition in conditions:
        if condition.get("type") == kind:
            return condition
    return None


def condition_status(status: Mapping[str, Any], kind: str) -> str:
    """True, False or Unknown; empty when the condition is not there."""
    condition = find_condition(status.get("conditions") or [], kind)
    return str(condition.get("status", "")) if condition else ""


def status_of(obj: Object) -> Status:
    """A copy to fill, one level deep: lists and maps in it are replaced, never changed."""
    return dict(obj.get("status") or {})


def assign(status: Status, **fields: Any) -> None:
    """Sets fields; those without a value go away. Names are those of the JSON."""
    for name, value in fields.items():
        if value is None or value == "" or value == [] or value == {}:
            status.pop(name, None)
        else:
            status[name] = value


def compact(**fields: Any) -> dict[str, Any]:
    """A map of the fields that have a value (numbers and booleans always do)."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def plan_update(
    obj: Object, status: Status, events: Sequence[EventNote] = (), *, ignoring: Sequence[str] = ("lastSeen",)
) -> StatusUpdate | None:
    """The update to write, or None when status means what it meant and nothing happened."""
    old = obj.get("status") or {}
    same = _without(old, ignoring) == _without(status, ignoring)
    if not same:
        status = bound_status(status)
        same = _without(old, ignoring) == _without(status, ignoring)
    if same and not events:
        return None
    meta = obj["metadata"]
    return StatusUpdate(
        kind=obj["kind"],
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta["uid"],
        status=None if same else status,
        events=tuple(EventNote(note.type, note.reason, bound_text(note.message)) for note in events),
    )


def _without(status: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in names}

"""Event of the group events.k8s.io: the same objects as the core group's events, with other names for their fields.

Recorders of newer client libraries write them; the conversion is that of Kubernetes (``pkg/apis/events/v1/conversion.go``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Struct

from eaves.kinds import event
from eaves.kinds.event import EventSeries, EventSource, ObjectReference
from eaves.kinds.fields import MicroTime, Time, about
from eaves.kinds.rules import invalid, required
from eaves.kinds.serving import core_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object

GROUP = "events.k8s.io"

_TO_CORE = event.NEWER_NAMES
_LEAST_SERIES = 2
_OF_OLD = ("firstTimestamp", "lastTimestamp", "count", "source")
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


class Event(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Event is a report of something that happened. Events are kept for an hour."""

    event_time: Annotated[MicroTime | None, event.NULLABLE, about("When it was first seen, to the microsecond.")] = None
    series: Annotated[EventSeries | None, about("Set when it happens again and again.")] = None
    reporting_controller: Annotated[str, about("Controller that reports.")] = ""
    reporting_instance: Annotated[str, about("Its instance.")] = ""
    action: Annotated[str, about("What was done or failed.")] = ""
    reason: Annotated[str, about("Why, as one word.")] = ""
    regarding: Annotated[ObjectReference, event.ATOMIC, about("The object that it is about.")] = ObjectReference()
    related: Annotated[ObjectReference | None, event.ATOMIC, about("Another object that has to do with it.")] = None
    note: Annotated[str, about("What happened, for people.")] = ""
    type: Annotated[str, about("Normal or Warning.")] = ""
    deprecated_source: Annotated[EventSource, about("Who reports, in the core group's form.")] = EventSource()
    deprecated_first_timestamp: Annotated[Time | None, event.NULLABLE, about("When it was first seen.")] = None
    deprecated_last_timestamp: Annotated[Time | None, event.NULLABLE, about("When it was last seen.")] = None
    deprecated_count: Annotated[int, about("How often it was seen.")] = 0


def project_event(core: Object) -> Object:
    """The core group's event as this one."""
    shown = {**_rename(core, _FROM_CORE), "apiVersion": f"{GROUP}/v1", "kind": "Event"}
    for name in ("reportingController", "reportingInstance"):
        if shown.get(name) == "":
            del shown[name]
    return shown


def unproject_event(shown: Object) -> Object:
    """The other way."""
    return {**_rename(shown, _TO_CORE), "apiVersion": "v1", "kind": "Event"}


def check_new_event(core: Object) -> list[FieldError]:
    """What is asked of a new event of this group beyond what is asked of any; in the fields of the core group, as Kubernetes says it."""
    faults = list(event.check_event(core, None, "reportingController"))
    if not core.get("eventTime"):
        faults.append(required("eventTime"))
    kind = core.get("type") or ""
    if kind not in ("Normal", "Warning"):
        faults.append(invalid("type", "", f"has invalid value: {kind}"))
    faults.extend(invalid(name, "", "needs to be unset") for name in _OF_OLD if core.get(name))
    return faults


_NOT_CHANGED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
)
_ZERO: Mapping[str, object] = {"source": {}, "count": 0, "involvedObject": {}}


def check_changed_event(new: Object, old: Object) -> Iterator[FieldError]:
    """What may be changed by way of this group: the series and metadata. Both are given in the fields of the core group."""
    series = new.get("series")
    if series and series != old.get("series"):
        if (series.get("count") or 0) < _LEAST_SERIES:
            yield invalid("series.count", "", f"should be at least {_LEAST_SERIES}")
        if not series.get("lastObservedTime"):
            yield required("series.lastObservedTime")
    for name in _NOT_CHANGED:
        key = "reportingComponent" if name == "reportingController" else name
        zero = _ZERO.get(name, "")
        mine = new.get(key) or zero
        if mine != (old.get(key) or zero):
            yield invalid(name, mine or None, "field is immutable")


def _rename(obj: Object, names: Mapping[str, str]) -> Object:
    return {names.get(name, name): value for name, value in obj.items()}


def _of_core(column: Column) -> Column:
    """The same column over an event of this group."""
    return Column(
        column.name,
        column.type,
        lambda obj, now: column.value(unproject_event(obj), now),
        column.description,
        priority=column.priority,
        format=column.format,
    )


RESOURCE = core_resource(
    Event,
    "events",
    namespaced=True,
    group=GROUP,
    group_reference="events",
    stored_as=event.RESOURCE.gvr,
    other_forms={event.RESOURCE.api_version: _FROM_CORE},
    creates_on_update=True,
    short_names=("ev",),
    columns=tuple(_of_core(column) for column in event.RESOURCE.columns),
    selectable_fields={
        **{
            f"regarding.{name}": text_at("regarding", name)
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": text_at("reason"),
        "reportingController": lambda obj: event.RESOURCE.selectable_fields["reportingComponent"](unproject_event(obj)),
        "type": text_at("type"),
    },
)

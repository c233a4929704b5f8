"""Event: something that happened to an object, for people to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from eaves.kinds.columns import age_of, at, get
from eaves.kinds.fields import MicroTime, Time, about
from eaves.kinds.rules import invalid, required
from eaves.kinds.serving import core_resource, text_at
from eaves.kube import names
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object

NEWER_VERSION = "events.k8s.io/v1"
NEWER_NAMES = {
    "note": "message",
    "reportingController": "reportingComponent",
    "regarding": "involvedObject",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields as the newer group names them (:mod:`eaves.kinds.event_v1`) → as this one does; the others have one name."""
NULLABLE = Meta(extra_json_schema={"nullable": True})
ATOMIC = Meta(extra_json_schema={"x-kubernetes-map-type": "atomic"})
_WORD_LIMIT, _NOTE_LIMIT = 128, 1024


class ObjectReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names an object of any kind."""

    kind: Annotated[str, about("Kind of the object.")] = ""
    namespace: Annotated[str, about("Its namespace.")] = ""
    name: Annotated[str, about("Its name.")] = ""
    uid: Annotated[str, about("Its UID.")] = ""
    api_version: Annotated[str, about("Its API version.")] = ""
    resource_version: Annotated[str, about("Its version at that moment.")] = ""
    field_path: Annotated[str, about("The part of the object.")] = ""


class EventSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Who reports."""

    component: Annotated[str, about("Component that reports.")] = ""
    host: Annotated[str, about("Node that it reports about or runs on.")] = ""


class EventSeries(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The same thing again and again."""

    count: Annotated[int, about("How often.")] = 0
    last_observed_time: Annotated[MicroTime | None, about("When last.")] = None


class Event(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Event is a report of something that happened. Events are kept for an hour."""

    involved_object: Annotated[ObjectReference, ATOMIC, about("The object that it is about.")]
    reason: Annotated[str, about("Why, as one word.")] = ""
    message: Annotated[str, about("What happened, for people.")] = ""
    source: Annotated[EventSource, about("Who reports.")] = EventSource()
    first_timestamp: Annotated[Time | None, NULLABLE, about("When it was first seen.")] = None
    last_timestamp: Annotated[Time | None, NULLABLE, about("When it was last seen.")] = None
    count: Annotated[int, about("How often it was seen.")] = 0
    type: Annotated[str, about("Normal or Warning.")] = ""
    event_time: Annotated[MicroTime | None, NULLABLE, about("When it was first seen, to the microsecond.")] = None
    series: Annotated[EventSeries | None, about("Set when it happens again and again.")] = None
    action: Annotated[str, about("What was done or failed.")] = ""
    related: Annotated[ObjectReference | None, ATOMIC, about("Another object that has to do with it.")] = None
    reporting_component: Annotated[str, about("Controller that reports.")] = ""
    reporting_instance: Annotated[str, about("Its instance.")] = ""


def check_event(new: Object, _old: Object | None, controller_field: str = "reportingComponent") -> Sequence[FieldError]:
    """An event lives in the namespace of its object; those about cluster-wide objects in ``default`` or ``kube-system``."""
    namespace = new["metadata"].get("namespace", "")
    about_namespace = (new.get("involvedObject") or {}).get("namespace", "")
    faults = []
    if about_namespace not in ("", namespace) or not (about_namespace or namespace in ("default", "kube-system")):
        faults.append(invalid("involvedObject.namespace", about_namespace, "does not match event.namespace"))
    if new.get("eventTime"):
        faults.extend(_check_words(new, controller_field))
    return faults


def _check_words(new: Object, controller_field: str) -> Iterator[FieldError]:
    """An event with a time to the microsecond is of the newer form, which needs to say who did what."""
    controller = new.get("reportingComponent") or ""
    if not controller:
        yield required(controller_field)
    for text in names.check_qualified_name(controller):
        yield invalid(controller_field, controller, text)
    for field in ("reportingInstance", "action", "reason"):
        text = new.get(field) or ""
        if not text:
            yield required(field)
        if len(text) > _WORD_LIMIT:
            yield invalid(field, "", f"can have at most {_WORD_LIMIT} characters")
    if len(new.get("message") or "") > _NOTE_LIMIT:
        yield invalid("message", "", f"can have at most {_NOTE_LIMIT} characters")


def _last_seen(obj: Object, now: float) -> str:
    text = get(obj, ["series", "lastObservedTime"]) or obj.get("lastTimestamp") or obj.get("eventTime") or ""
    return age_of(str(text), now)


def _first_seen(obj: Object, now: float) -> str:
    return age_of(str(obj.get("firstTimestamp") or obj.get("eventTime") or ""), now)


def _object(obj: Object, _now: float) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _source(obj: Object, _now: float) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    return ", ".join(text for text in (component, source.get("host", "")) if text)


RESOURCE = core_resource(
    Event,
    "events",
    namespaced=True,
    short_names=("ev",),
    columns=(
        Column("Last Seen", "string", _last_seen, "Time since the event was last seen."),
        Column("Type", "string", at("type"), "Normal or Warning."),
        Column("Reason", "string", at("reason"), "Why, as one word."),
        Column("Object", "string", _object, "The object that it is about."),
        Column("Subobject", "string", at("involvedObject.fieldPath"), "The part of the object.", priority=1),
        Column("Source", "string", _source, "Who reports.", priority=1),
        Column("Message", "string", lambda obj, now: str(at("message")(obj, now)).strip(), "What happened."),
        Column("First Seen", "string", _first_seen, "Time since the event was first seen.", priority=1),
        Column(
            "Count",
            "string",
            lambda obj, _now: get(obj, ["series", "count"], obj.get("count") or 1),
            "How often.",
            priority=1,
        ),
        Column("Name", "string", at("metadata.name"), "Name of the event.", format="name", priority=1),
    ),
    selectable_fields={
        "involvedObject.kind": text_at("involvedObject", "kind"),
        "involvedObject.namespace": text_at("involvedObject", "namespace"),
        "involvedObject.name": text_at("involvedObject", "name"),
        "involvedObject.uid": text_at("involvedObject", "uid"),
        "involvedObject.apiVersion": text_at("involvedObject", "apiVersion"),
        "involvedObject.resourceVersion": text_at("involvedObject", "resourceVersion"),
        "involvedObject.fieldPath": text_at("involvedObject", "fieldPath"),
        "reason": text_at("reason"),
        "reportingComponent": lambda obj: str(
            (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
        ),
        "source": lambda obj: str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""),
        "type": text_at("type"),
    },
    validate=check_event,
    zero_fields={
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    other_forms={NEWER_VERSION: NEWER_NAMES},
    creates_on_update=True,
)

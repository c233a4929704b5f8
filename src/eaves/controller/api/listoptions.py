"""Query parameters of list and watch, checked by a kube-apiserver's rules. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from eaves.controller.api.continuation import Continuation, decode_continuation
from eaves.controller.api.routing import Query, is_true
from eaves.kube import selectors, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Resource
from eaves.store.abc import StoredObject

_INTEGER = re.compile(r"[-+]?[0-9]{1,40}", re.ASCII)
_INT64 = 1 << 63
_VERSION_DIGITS = 20
_MOST = 1 << 31
"""A limit beyond what any list has is the same as this one, which a store can count with."""
NAME = "metadata.name"
NAMESPACE = "metadata.namespace"


class Match(StrEnum):
    """How ``resourceVersion`` binds a list."""

    UNSET = ""
    EXACT = "Exact"
    NOT_OLDER_THAN = "NotOlderThan"


class Selection(Struct, frozen=True):
    """Which objects are asked for: by label and by field. Both may select everything."""

    labels: selectors.LabelSelector
    fields: selectors.FieldSelector

    @property
    def is_everything(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, stored: StoredObject) -> bool:
        return (not self.labels or self.labels.matches(stored.labels)) and (
            not self.fields
            or self.fields.matches({**stored.fields, NAME: stored.key.name, NAMESPACE: stored.key.namespace})
        )

    def field_hints(self) -> dict[str, str]:
        """Equalities of fields that the store keeps; name and namespace are in its keys."""
        return {field: value for field, value in self.fields.equalities().items() if field not in (NAME, NAMESPACE)}


EVERYTHING = Selection(selectors.LabelSelector(), selectors.FieldSelector())


class ListOptions(Struct, frozen=True):
    """A list as asked. ``revision`` is the exact one to answer from (None = now), ``at_least`` one that must be reached first."""

    selection: Selection
    limit: int
    after: Continuation | None
    revision: int | None
    at_least: int


class WatchOptions(Struct, frozen=True):
    """A watch as asked. ``after`` None starts with the present state, or with nothing when ``only_new``."""

    selection: Selection
    after: int | None
    only_new: bool
    initial_events_bookmark: bool
    """The client wants to be told when the initial state is complete."""
    bookmarks: bool
    timeout_s: float | None
    at_least: int


def parse_list_options(resource: Resource, query: Query) -> ListOptions:
    """Raises ApiError 400 or 422."""
    selection = parse_selection(resource, query)
    version = query.get("resourceVersion", "")
    match = _parse_match(query, version)
    limit = min(max(0, _parse_int(query, "limit")), _MOST)
    token = query.get("continue", "")
    # A list has no use for a time limit, but it must be a number all the same.
    _parse_int(query, "timeoutSeconds")
    if "sendInitialEvents" in query:
        raise _invalid_options("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if token:
        if version not in ("", "0"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        after = decode_continuation(token)
        return ListOptions(selection, limit, after, after.revision or None, 0)
    if not version:
        return ListOptions(selection, limit, None, None, 0)
    number = parse_version(version)
    if match is Match.EXACT and number == 0:
        raise _invalid_options(
            "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )
    if number == 0:
        # "Any version will do" is served whole, whatever limit was asked.
        return ListOptions(selection, 0, None, None, 0)
    if match is Match.EXACT or (match is Match.UNSET and limit):
        return ListOptions(selection, limit, None, number, number)
    return ListOptions(selection, limit, None, None, number)


def parse_watch_options(resource: Resource, query: Query) -> WatchOptions:
    """Raises ApiError 400 or 422."""
    version = query.get("resourceVersion", "")
    _check_match_of_watch(query)
    wants_initial = _parse_optional_bool(query, "sendInitialEvents")
    number = parse_version(version) if version else 0
    if query.get("continue"):
        raise _invalid_options("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    seconds = _parse_int(query, "timeoutSeconds")
    from_state = wants_initial if wants_initial is not None else number == 0
    return WatchOptions(
        selection=parse_selection(resource, query),
        after=number if not from_state and number else None,
        only_new=not from_state and not number,
        initial_events_bookmark=bool(wants_initial) and is_true(query, "allowWatchBookmarks"),
        bookmarks=is_true(query, "allowWatchBookmarks"),
        timeout_s=float(seconds) if seconds > 0 else None,
        at_least=number if from_state else 0,
    )


def parse_selection(resource: Resource, query: Query) -> Selection:
    """Raises ApiError 400 for a selector that cannot be read or names a field that is not selectable."""
    if "labelSelector" not in query and "fieldSelector" not in query:
        return EVERYTHING
    return Selection(
        selectors.parse_label_selector(query.get("labelSelector", "")),
        selectors.parse_field_selector(
            query.get("fieldSelector", ""),
            selectable_fields(resource),
            is_plain=not resource.is_custom and not resource.selectable_fields,
        ),
    )


def selectable_fields(resource: Resource) -> list[str]:
    return [NAME, NAMESPACE, *resource.selectable_fields]


def parse_version(text: str) -> int:
    """Raises ApiError 400 for what is not a resourceVersion."""
    if not (text.isascii() and text.isdigit()):
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise status.bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    if len(text) > _VERSION_DIGITS:
        why = f'strconv.ParseUint: parsing "{text}": value out of range'
        raise status.bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


def _parse_match(query: Query, version: str) -> Match:
    text = query.get("resourceVersionMatch", "")
    if not text:
        return Match.UNSET
    reasons = []
    if not version:
        reasons.append("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if query.get("continue"):
        reasons.append("resourceVersionMatch is forbidden when continue is provided")
    if reasons:
        raise _invalid_options("resourceVersionMatch", *reasons)
    return _known_match(text)


def _check_match_of_watch(query: Query) -> None:
    """With initial events a match is a must, without them it has no meaning."""
    text = query.get("resourceVersionMatch", "")
    if "sendInitialEvents" in query:
        if text != Match.NOT_OLDER_THAN:
            raise _bad_match(text, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif text:
        reason = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise _bad_match(text, reason)


def _bad_match(text: str, reason: str) -> Exception:
    faults = [FieldError("resourceVersionMatch", CauseType.FORBIDDEN, reason)]
    if text not in ("", Match.NOT_OLDER_THAN):
        supported = 'supported values: "NotOlderThan"'
        faults.append(FieldError("resourceVersionMatch", CauseType.NOT_SUPPORTED, supported, text))
    return status.invalid("meta.k8s.io", "ListOptions", "", faults)


def _known_match(text: str) -> Match:
    try:
        return Match(text)
    except ValueError as error:
        listed = 'supported values: "Exact", "NotOlderThan", ""'
        supported = FieldError("resourceVersionMatch", CauseType.NOT_SUPPORTED, listed, text)
        raise status.invalid("meta.k8s.io", "ListOptions", "", [supported]) from error


def _parse_int(query: Query, name: str) -> int:
    if name not in query:
        return 0
    text = query[name]
    if not _INTEGER.fullmatch(text):
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -_INT64 <= (number := int(text)) < _INT64:
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def _parse_optional_bool(query: Query, name: str) -> bool | None:
    return is_true(query, name) if name in query else None


def _invalid_options(field: str, *reasons: str) -> Exception:
    faults = [FieldError(field, CauseType.FORBIDDEN, reason) for reason in reasons]
    return status.invalid("meta.k8s.io", "ListOptions", "", faults)

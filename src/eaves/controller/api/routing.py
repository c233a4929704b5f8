"""Turns a path and a method into what is asked for, by the rules of a kube-apiserver. Pure.

Split by hand rather than by patterns: this runs for every request, and a namespace's own resources need the special case of
``namespaces/NAME/status`` anyway.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from msgspec import Struct

from eaves.kube import status
from eaves.kube.resource import Verb

Query = dict[str, str]

_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_UNIT = re.compile(r"[^.0-9]+")
_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s", "m", "h"})
_WRITE_VERBS = {"POST": Verb.CREATE, "PUT": Verb.UPDATE, "PATCH": Verb.PATCH}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


class Target(Struct, frozen=True):
    """A resource path. ``namespace`` is empty for cluster scope and for all namespaces; ``name`` is empty for collections."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    is_watch_path: bool = False
    """Asked by the old ``/watch/`` prefix."""

    @property
    def resource_path(self) -> str:
        """``pods`` or ``pods/log``, as access rules write it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def parse_query(raw: bytes) -> Query:
    """The query's parameters; of a repeated one the first counts."""
    query: Query = {}
    if raw:
        for name, value in parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True):
            query.setdefault(name, value)
    return query


def parse_target(path: str) -> Target | None:
    """``/api/V/…`` or ``/apis/G/V/…`` below a group version; None when the path names no resource."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        return _parse_parts("", parts[1], parts[2:])
    if parts[0] == "apis" and len(parts) > 3:
        return _parse_parts(parts[1], parts[2], parts[3:])
    return None


def _parse_parts(group: str, version: str, parts: list[str]) -> Target | None:
    is_watch_path = parts[0] == "watch" and len(parts) > 1
    if is_watch_path:
        parts = parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
        else:
            # The namespace itself is asked for: it lives in cluster scope.
            namespace = ""
    if len(parts) > 3 and parts[2] == "proxy":
        # What follows is the path at the other end, which may look like anything.
        parts = parts[:3]
    if len(parts) > 3 or not all(parts):
        return None
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    return Target(group, version, parts[0], namespace, name, subresource, is_watch_path)


def name_asked(query: bytes) -> str:
    """The one name that a list or watch is about (``fieldSelector=metadata.name=NAME``), empty when it is about more."""
    if b"metadata.name" not in query:
        return ""
    terms = parse_query(query).get("fieldSelector", "").split(",")
    names = {
        value.removeprefix("=")
        for term in terms
        for key, is_set, value in [term.partition("=")]
        if is_set and key == "metadata.name"
    }
    return names.pop() if len(names) == 1 else ""


def check_timeout(raw: bytes, query: Query) -> None:
    """A client may say how long it waits, in Go's form of a duration, which must be one. Raises ApiError 400."""
    if b"timeout=" in raw and (why := _find_duration_fault(query.get("timeout", ""))):
        raise status.bad_request(f"invalid timeout specified in the request URL - time: {why}")


def _find_duration_fault(text: str) -> str:
    """What Go says of a text that is no duration; empty for one that is, or is empty."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if not text or rest == "0":
        return ""
    while number := _NUMBER.match(rest):
        unit = _UNIT.match(rest, number.end())
        if unit is None:
            return f'missing unit in duration "{text}"'
        if unit[0] not in _UNITS:
            return f'unknown unit "{unit[0]}" in duration "{text}"'
        rest = rest[unit.end() :]
        if not rest:
            return ""
    return f'invalid duration "{text}"'


def is_true(query: Query, name: str) -> bool:
    """A boolean parameter: absent is false, and only ``0`` and ``false`` say so too (an empty one is true)."""
    value = query.get(name)
    return value is not None and value.lower() not in ("0", "false")


def verb_of(method: str, target: Target, query: Query) -> str | None:
    """The verb that access rules and handlers know; None for a method that resources don't have."""
    if method in ("GET", "HEAD"):
        if target.is_watch_path:
            return Verb.WATCH
        if target.name:
            return Verb.GET
        return Verb.WATCH if is_true(query, "watch") else Verb.LIST
    if target.is_watch_path:
        return None
    if method == "DELETE":
        return Verb.DELETE if target.name else Verb.DELETE_COLLECTION
    return _WRITE_VERBS.get(method)

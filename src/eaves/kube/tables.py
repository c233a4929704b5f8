"""Tables and partial metadata: what ``kubectl get`` prints and what garbage collectors read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from eaves.kube.resource import Column, Object, Resource

_GROUP = "meta.k8s.io"


def render_columns(resource: Resource) -> list[Object]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in resource.columns
    ]


def render_row(resource: Resource, obj: Object, now: float, include: str = "Metadata", version: str = "v1") -> Object:
    """One row. ``include`` is the query parameter includeObject: None, Metadata (default) or Object."""
    row: Object = {"cells": [column.value(obj, now) for column in resource.columns]}
    if include == "Object":
        row["object"] = obj
    else:
        row["object"] = None if include == "None" else render_partial(obj, version)
    return row


def render_table(
    resource: Resource,
    objects: Iterable[Object],
    now: float,
    list_metadata: Object,
    *,
    include: str = "Metadata",
    columns: bool = True,
    version: str = "v1",
) -> Object:
    """A Table of objects; on a watch only the first one has ``columns``. ``version`` is that of the Table, not of the kind."""
    definitions = render_columns(resource) if columns else None
    rows = [render_row(resource, obj, now, include, version) for obj in objects]
    table = {"kind": "Table", "apiVersion": f"{_GROUP}/{version}"}
    return {**table, "metadata": list_metadata, "columnDefinitions": definitions, "rows": rows}


def render_partial(obj: Object, version: str = "v1") -> Object:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{_GROUP}/{version}",
        "metadata": obj.get("metadata") or {},
    }


def render_partial_list(objects: Iterable[Object], list_metadata: Object, version: str = "v1") -> Object:
    items = [render_partial(obj, version) for obj in objects]
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"{_GROUP}/{version}",
        "metadata": list_metadata,
        "items": items,
    }


def name_column() -> Column:
    text = "Name must be unique within a namespace."
    return Column("Name", "string", lambda obj, _now: obj["metadata"].get("name", ""), text, format="name")


def age_column() -> Column:
    return Column("Age", "string", _age, "Time since the object was created.")


def _age(obj: Object, now: float) -> str:
    created = parse_time(obj.get("metadata", {}).get("creationTimestamp"))
    return "<unknown>" if created is None else render_duration(now - created)


def parse_time(value: Any) -> float | None:
    """RFC 3339 to Unix seconds; None for what is absent or no time."""
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def render_duration(seconds: float) -> str:
    """As kubectl prints ages: two units at most, coarser as it grows: ``45s 2m5s 59m 5h10m 2d3h 12d 2y45d 9y``."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _pair(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"

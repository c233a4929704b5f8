"""All kinds together: unique names, explained fields, columns that stand an empty object."""

from __future__ import annotations

import pytest

from eaves.kinds import absent, usage
from eaves.kinds.registry import BY_GVR, BY_KIND, PROJECTED, RESOURCES
from eaves.kube.resource import Resource
from eaves.kube.schema import ListType, Schema
from eaves.testing.objects import make_object


def test_names_are_unique() -> None:
    assert len(BY_GVR) == len(BY_KIND) == len(RESOURCES)
    # Group metrics.k8s.io has the names of the objects whose use it tells; kubectl takes the core group's for them.
    named = [resource for resource in RESOURCES if resource.gvr.group != usage.GROUP]
    names = [name for resource in named for name in (resource.gvr.resource, resource.singular, *resource.short_names)]
    assert sorted(names) == sorted(set(names))


def test_views_are_not_custom_kinds() -> None:
    assert {BY_GVR[gvr].kind for gvr in PROJECTED} == {"Node", "Pod", "NodeMetrics", "PodMetrics"}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_columns_of_an_empty_object_are_cells(resource: Resource) -> None:
    obj = make_object(resource.kind, "x", namespace="default" if resource.namespaced else "")
    cells = [column.value(obj, 1795543200.0) for column in resource.columns]
    assert all(isinstance(cell, str | int | bool) for cell in cells)
    assert all(isinstance(value(obj), str) for value in resource.selectable_fields.values())


@pytest.mark.parametrize("resource", [*RESOURCES, *absent.RESOURCES], ids=lambda resource: resource.store_name)
def test_every_column_says_what_it_shows(resource: Resource) -> None:
    assert resource.columns
    assert [column.name for column in resource.columns if not column.description] == []


def walk(schema: Schema, path: str = "") -> list[tuple[str, Schema]]:
    found = [(path, schema)]
    for name, child in schema.properties.items():
        found += walk(child, f"{path}.{name}")
    if schema.items is not None:
        found += walk(schema.items, f"{path}[]")
    if schema.additional is not None:
        found += walk(schema.additional, f"{path}{{}}")
    return found


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_field_is_explained(resource: Resource) -> None:
    nodes = walk(resource.schema)
    unexplained = [
        path
        for path, schema in nodes
        if not schema.description and not path.endswith(("[]", "{}")) and not path.startswith(".metadata")
    ]
    assert unexplained == []


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_keys_of_keyed_lists_are_fields_of_their_items(resource: Resource) -> None:
    keyed = [schema for _, schema in walk(resource.schema) if schema.list_type is ListType.MAP]
    for schema in keyed:
        assert schema.items is not None
        for key in schema.list_map_keys:
            child = schema.items.properties[key]
            assert key in schema.items.required or child.default is not None

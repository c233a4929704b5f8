"""The CustomResourceDefinitions of our kinds keep the rules that a kube-apiserver has for structural schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from eaves.kinds.registry import RESOURCES
from eaves.kube import crd
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import Schema, validate_schema

CUSTOM = [resource for resource in RESOURCES if resource.is_custom]
SCALARS = {"string", "integer", "number", "boolean"}


def walk(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    yield path, schema
    for key, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from walk(schema[key], f"{path}[]")


def structural_faults(path: str, schema: Object) -> Iterator[str]:
    """The rules of apiextensions.k8s.io/v1 for one node."""
    is_free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if not is_free and not schema.get("type"):
        yield f"{path}: no type"
    if schema.get("x-kubernetes-int-or-string") and "type" in schema:
        yield f"{path}: int-or-string with a type"
    if "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        yield f"{path}: alternatives"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path}: properties and additionalProperties"
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{path}: array without items"
    forbidden = {"$ref", "allOf", "uniqueItems", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key"}
    if found := forbidden & schema.keys():
        yield f"{path}: {found}"
    if unknown := set(schema.get("required", ())) - schema.get("properties", {}).keys():
        yield f"{path}: requires {unknown}, which it does not have"
    if "x-kubernetes-map-type" in schema and schema.get("type") != "object":
        yield f"{path}: map type of no object"
    yield from list_faults(path, schema)


def list_faults(path: str, schema: Object) -> Iterator[str]:
    kind = schema.get("x-kubernetes-list-type")
    items = schema.get("items", {})
    keys = schema.get("x-kubernetes-list-map-keys", [])
    if kind == "map":
        if not keys:
            yield f"{path}: keyed list without keys"
        for key in keys:
            child = items.get("properties", {}).get(key, {})
            if child.get("type") not in SCALARS:
                yield f"{path}: key {key} is no scalar"
            if key not in items.get("required", ()) and "default" not in child:
                yield f"{path}: key {key} is neither required nor has it a default"
    elif keys:
        yield f"{path}: keys of a list that is not keyed"
    if kind == "set" and items.get("type") not in SCALARS:
        yield f"{path}: a set of what is no scalar"


@pytest.fixture(params=CUSTOM, ids=lambda resource: str(resource.kind))
def resource(request: pytest.FixtureRequest) -> Resource:
    found: Resource = request.param
    return found


def schema_of(resource: Resource) -> Object:
    found: Object = crd.render_crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def test_schema_is_structural(resource: Resource) -> None:
    assert [fault for path, node in walk(schema_of(resource)) for fault in structural_faults(path, node)] == []


def test_standard_fields_are_left_to_the_server(resource: Resource) -> None:
    properties = schema_of(resource)["properties"]
    assert properties["apiVersion"] == properties["kind"] == {"type": "string"}
    assert properties["metadata"] == {"type": "object"}


def test_patterns_are_understood_by_go(resource: Resource) -> None:
    patterns = [node["pattern"] for _, node in walk(schema_of(resource)) if "pattern" in node]
    for pattern in patterns:
        re.compile(pattern)
        assert not re.search(r"\(\?[=!<]|\\[1-9ZG]|[*+?}]\+", pattern), pattern


def test_defaults_fit_their_schema(resource: Resource) -> None:
    def check(schema: Schema) -> None:
        if schema.default is not None:
            assert validate_schema(Schema(type="object", properties={"x": schema}), {"x": schema.default}) == []
        for child in (*schema.properties.values(), schema.items, schema.additional):
            if child is not None:
                check(child)

    check(resource.schema)


def test_selectable_fields_are_scalars_of_the_schema(resource: Resource) -> None:
    version = crd.render_crd(resource)["spec"]["versions"][0]
    selectable = version.get("selectableFields", [])
    assert len(selectable) <= crd.SELECTABLE_LIMIT
    for field in selectable:
        node = schema_of(resource)
        for part in field["jsonPath"].split(".")[1:]:
            node = node["properties"][part]
        assert node["type"] in {"string", "integer", "boolean"}


def test_names_agree(resource: Resource) -> None:
    document = crd.render_crd(resource)
    spec = document["spec"]
    assert document["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert spec["names"]["singular"] == spec["names"]["kind"].lower()
    assert spec["scope"] == ("Namespaced" if resource.namespaced else "Cluster")
    assert spec["versions"][0].get("subresources") == ({"status": {}} if resource.has_status else None)


def test_kinds_of_kubernetes_have_no_definition() -> None:
    (secret,) = [found for found in RESOURCES if found.kind == "Secret"]
    with pytest.raises(ValueError, match="Secret"):
        crd.render_crd(secret)

"""OpenAPI v3 documents hold together and say what kubectl reads from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from eaves.kinds.registry import RESOURCES
from eaves.kube import openapi
from eaves.kube.operations import root_of
from eaves.kube.resource import Object

DOCUMENTS = openapi.render_documents(RESOURCES, "v1.34.0+eaves")
EAVES = DOCUMENTS["apis/eaves.dev/v1alpha1"]
CORE = DOCUMENTS["api/v1"]


def walk(value: Any) -> Iterator[Object]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def operations(document: Object) -> Iterator[tuple[str, str, Object]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def schema(document: Object, name: str) -> Object:
    found: Object = document["components"]["schemas"][name]
    return found


def test_there_is_one_document_a_group_version() -> None:
    assert set(DOCUMENTS) == {
        "api/v1",
        "apis/eaves.dev/v1alpha1",
        "apis/coordination.k8s.io/v1",
        "apis/metrics.k8s.io/v1beta1",
        "apis/rbac.authorization.k8s.io/v1",
    }


@pytest.mark.parametrize("path", sorted(DOCUMENTS))
def test_every_reference_leads_to_a_schema(path: str) -> None:
    document = DOCUMENTS[path]
    names = {node["$ref"] for node in walk(document) if isinstance(node.get("$ref"), str)}
    assert names
    assert {name.removeprefix("#/components/schemas/") for name in names} <= document["components"]["schemas"].keys()


@pytest.mark.parametrize("path", sorted(DOCUMENTS))
def test_operation_ids_are_unique(path: str) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(DOCUMENTS[path])]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", sorted(DOCUMENTS))
def test_parameters_of_a_path_are_declared(path: str) -> None:
    for url, item in DOCUMENTS[path]["paths"].items():
        declared = {parameter["name"] for parameter in item.get("parameters", ()) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", url))


def test_index_leads_to_the_documents_by_hash() -> None:
    index = openapi.render_index({"api/v1": "AB12"})
    assert index == {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=AB12"}}}


def test_patch_of_an_app_validates_fields_and_takes_no_strategic_merge() -> None:
    patch = EAVES["paths"]["/apis/eaves.dev/v1alpha1/namespaces/{namespace}/apps/{name}"]["patch"]
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} == {p["name"] for p in patch["parameters"]}
    assert set(patch["requestBody"]["content"]) == {
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    }
    assert patch["x-kubernetes-action"] == "patch"
    assert patch["x-kubernetes-group-version-kind"] == {"group": "eaves.dev", "version": "v1alpha1", "kind": "App"}


def test_patch_of_a_core_kind_takes_strategic_merge() -> None:
    patch = CORE["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_methods_are_those_of_the_verbs() -> None:
    assert set(CORE["paths"]["/api/v1/nodes"]) == {"get", "parameters"}
    assert set(CORE["paths"]["/api/v1/nodes/{name}"]) == {"get", "put", "patch", "delete", "parameters"}
    assert set(CORE["paths"]["/api/v1/namespaces/{namespace}/pods"]) == {"get", "post", "delete", "parameters"}
    assert set(CORE["paths"]["/api/v1/pods"]) == {"get", "parameters"}


def test_log_is_text_with_its_own_parameters() -> None:
    log = CORE["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"]
    assert log["operationId"] == "readCoreV1NamespacedPodLog"
    assert set(log["responses"]["200"]["content"]) == {"text/plain"}
    assert {"follow", "previous", "tailLines"} <= {parameter["name"] for parameter in log["parameters"]}


def test_kinds_and_lists_carry_their_group_version_kind() -> None:
    for kind in ("App", "AppList"):
        assert schema(EAVES, f"dev.eaves.v1alpha1.{kind}")["x-kubernetes-group-version-kind"] == [
            {"group": "eaves.dev", "version": "v1alpha1", "kind": kind}
        ]


def test_selectable_fields_of_a_kind_are_listed() -> None:
    assert schema(EAVES, "dev.eaves.v1alpha1.App")["x-kubernetes-selectable-fields"] == [
        {"fieldPath": "spec.nodeName"},
        {"fieldPath": "status.phase"},
    ]


def test_lists_say_how_they_merge() -> None:
    spec = schema(EAVES, "dev.eaves.v1alpha1.App")["properties"]["spec"]["properties"]
    assert spec["env"]["x-kubernetes-list-type"] == "map"
    assert spec["env"]["x-kubernetes-list-map-keys"] == ["name"]
    taints = schema(CORE, "io.k8s.api.core.v1.ServiceAccount")["properties"]
    assert taints["secrets"]["x-kubernetes-patch-merge-key"] == "name"
    assert taints["secrets"]["x-kubernetes-patch-strategy"] == "merge"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: str(resource.kind))
def test_every_field_of_every_kind_is_described(resource: Any) -> None:
    document = DOCUMENTS[root_of(resource.gvr.group, resource.gvr.version)]

    def check(node: Object, path: str) -> Iterator[str]:
        for key, child in node.get("properties", {}).items():
            if not child.get("description"):
                yield f"{path}.{key}"
            yield from check(child, f"{path}.{key}")
        for inner in (node.get("items"), node.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from check(inner, f"{path}[]")

    assert list(check(schema(document, resource.schema.reference), resource.kind)) == []

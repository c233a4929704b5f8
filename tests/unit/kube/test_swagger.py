"""The OpenAPI v2 document holds together, in JSON and in protobuf."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from eaves.kinds.registry import RESOURCES
from eaves.kube import swagger, swagger_protobuf
from eaves.kube.protowire import decode_fields
from eaves.kube.resource import Object

DOCUMENT = swagger.render_document(RESOURCES, "v1.34.0+eaves")
APP = "dev.eaves.v1alpha1.App"


def walk(value: Any) -> Iterator[Object]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def test_every_reference_leads_to_a_definition() -> None:
    names = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert names
    assert {name.removeprefix("#/definitions/") for name in names} <= DOCUMENT["definitions"].keys()


def test_words_of_v3_are_gone() -> None:
    for node in walk(DOCUMENT):
        assert not {"allOf", "anyOf", "oneOf", "requestBody", "components"} & node.keys()
        assert node.get("nullable") is not True


def test_all_group_versions_are_in_one_document() -> None:
    assert {"/api/v1/", "/apis/eaves.dev/v1alpha1/", "/apis/coordination.k8s.io/v1/"} <= DOCUMENT["paths"].keys()
    assert {APP, "io.k8s.api.core.v1.Secret"} <= DOCUMENT["definitions"].keys()


def test_patch_says_what_it_takes() -> None:
    patch = DOCUMENT["paths"]["/api/v1/namespaces/{namespace}/secrets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    body = patch["parameters"][0]
    assert (body["name"], body["in"], body["required"]) == ("body", "body", True)
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}


def test_reference_keeps_the_description_of_its_field() -> None:
    metadata = DOCUMENT["definitions"][APP]["properties"]["metadata"]
    assert metadata == {
        "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "description": "Standard object's metadata.",
    }


def read(message: bytes, *numbers: int) -> bytes:
    """The first field at a path of field numbers."""
    for number in numbers:
        value = next(value for found, value in decode_fields(message) if found == number)
        assert isinstance(value, bytes)
        message = value
    return message


def named(message: bytes, number: int) -> dict[str, bytes]:
    pairs = [value for found, value in decode_fields(message) if found == number and isinstance(value, bytes)]
    return {read(pair, 1).decode(): read(pair, 2) for pair in pairs}


def test_protobuf_has_every_path_and_definition() -> None:
    encoded = swagger_protobuf.encode_document(DOCUMENT)
    assert read(encoded, 1) == b"2.0"
    assert named(read(encoded, 8), 2).keys() == DOCUMENT["paths"].keys()
    definitions = named(read(encoded, 9), 1)
    assert definitions.keys() == DOCUMENT["definitions"].keys()
    properties = named(read(definitions[APP], 25), 1)
    assert properties.keys() == DOCUMENT["definitions"][APP]["properties"].keys()
    assert read(properties["kind"], 22, 1) == b"string"
    extensions = named(definitions[APP], 31)
    kinds = json.loads(read(extensions["x-kubernetes-group-version-kind"], 2))
    assert kinds == [{"group": "eaves.dev", "version": "v1alpha1", "kind": "App"}]


def test_protobuf_operation_has_its_parameters() -> None:
    encoded = swagger_protobuf.encode_document(DOCUMENT)
    path = named(read(encoded, 8), 2)["/apis/eaves.dev/v1alpha1/namespaces/{namespace}/apps/{name}"]
    patch = read(path, 8)
    assert read(patch, 5) == b"patchEavesDevV1alpha1NamespacedApp"
    texts = re.findall(rb"fieldManager|fieldValidation|dryRun|force", patch)
    assert set(texts) >= {b"fieldManager", b"fieldValidation", b"dryRun", b"force"}
    assert named(read(patch, 9), 1).keys() == {"200", "201", "401"}

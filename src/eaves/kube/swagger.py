"""OpenAPI v2 (Swagger): one document with every group version, for clients that do not know v3.

Made from the v3 documents. Schemas lose what v2 has no words for: ``nullable`` and schemas that are references with a description of
their own become bare references. Old clients read the protobuf form (:mod:`eaves.kube.swagger_protobuf`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eaves.kube import openapi
from eaves.kube.operations import PREFIX
from eaves.kube.resource import Object, Resource

_DEFINITIONS = "#/definitions/"
_METHODS = ("get", "put", "post", "delete", "patch")
_DROPPED = frozenset({"nullable", "oneOf", "anyOf"})


def render_document(resources: Iterable[Resource], version: str) -> Object:
    """``GET /openapi/v2`` as JSON. ``version`` is the server's."""
    paths: Object = {}
    definitions: Object = {}
    for document in openapi.render_documents(resources, version).values():
        for path, item in document["paths"].items():
            paths[path] = _convert_item(item)
        for name, schema in document["components"]["schemas"].items():
            definitions[name] = _convert_schema(schema)
    return {
        "swagger": "2.0",
        "info": {"title": openapi.TITLE, "version": version},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "securityDefinitions": {
            "BearerToken": {
                "type": "apiKey",
                "description": "Bearer token of an operator.",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _convert_item(item: Object) -> Object:
    converted: Object = {method: _convert_operation(item[method]) for method in _METHODS if method in item}
    if "parameters" in item:
        converted["parameters"] = [_convert_parameter(parameter) for parameter in item["parameters"]]
    return converted


def _convert_operation(operation: Object) -> Object:
    converted = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters")}
    parameters = [_convert_parameter(parameter) for parameter in operation.get("parameters", ())]
    body = operation.get("requestBody")
    if body is not None:
        converted["consumes"] = sorted(body["content"])
        parameters.insert(0, _convert_body(body))
    if parameters:
        converted["parameters"] = parameters
    responses = operation["responses"]
    produced = {media_type for response in responses.values() for media_type in response.get("content", ())}
    converted["produces"] = sorted(produced)
    converted["responses"] = {code: _convert_response(response) for code, response in responses.items()}
    return converted


def _convert_body(body: Object) -> Object:
    content = next(iter(body["content"].values()))
    converted: Object = {"name": "body", "in": "body", "schema": _convert_schema(content["schema"])}
    if body.get("required"):
        converted["required"] = True
    return converted


def _convert_parameter(parameter: Object) -> Object:
    rest = {key: value for key, value in parameter.items() if key != "schema"}
    return {**rest, **parameter["schema"]}


def _convert_response(response: Object) -> Object:
    converted: Object = {"description": response["description"]}
    content = next(iter(response.get("content", {}).values()), None)
    if content is not None:
        converted["schema"] = _convert_schema(content["schema"])
    return converted


def _convert_schema(schema: Object) -> Object:
    """A schema in v2's words, with its references led to ``definitions``."""
    reference = schema.get("$ref") or _only_reference(schema)
    if reference:
        converted: Object = {"$ref": reference.replace(PREFIX, _DEFINITIONS)}
        if schema.get("description"):
            converted["description"] = schema["description"]
        return converted
    return {key: _convert_part(key, value) for key, value in schema.items() if key not in _DROPPED}


def _convert_part(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: _convert_schema(child) for name, child in value.items()}
    if key in ("items", "additionalProperties"):
        return _convert_schema(value)
    return value


def _only_reference(schema: Object) -> str:
    """The target of ``{"allOf": [{"$ref": …}], …}``, empty for other schemas."""
    alternatives = schema.get("allOf") or [{}]
    return str(alternatives[0].get("$ref", ""))

"""OpenAPI v2 documents in protobuf, the only form in which client-go asks for them: kubectl before 1.27, helm and many operators.

Writes what :mod:`eaves.kube.swagger` renders as a message ``openapi.v2.Document``, with the field numbers of gnostic's
``OpenAPIv2.proto``. Values that may be anything (defaults, enums, extensions) travel as YAML text there, of which JSON is a part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from eaves.kube.protowire import encode_bytes, encode_double, encode_text, encode_texts, encode_varint
from eaves.kube.resource import Object

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What clients accept."""
ANSWER_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What is answered: a media type has no ``@``."""

_T = TypeVar("_T")

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
_TEXT_FIELDS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_COUNT_FIELDS = {"maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15}
_NUMBER_FIELDS = {"maximum": 7, "minimum": 9}


def encode_document(document: Object) -> bytes:
    """``GET /openapi/v2`` for a client that accepts :data:`MEDIA_TYPE`."""
    info = encode_text(1, document["info"]["title"]) + encode_text(2, document["info"]["version"])
    security = (encode_bytes(12, _encode_named(1, item, _encode_scopes)) for item in document["security"])
    return b"".join(
        (
            encode_text(1, document["swagger"]),
            encode_bytes(2, info),
            encode_bytes(8, _encode_named(2, document["paths"], _encode_path)),
            encode_bytes(9, _encode_named(1, document["definitions"], _encode_schema)),
            *security,
            encode_bytes(13, _encode_named(1, document["securityDefinitions"], _encode_security)),
        )
    )


def _encode_named(number: int, values: Mapping[str, _T], encode: Callable[[_T], bytes]) -> bytes:
    """A repeated pair of a name and a message."""
    return b"".join(
        encode_bytes(number, encode_text(1, name) + encode_bytes(2, encode(value))) for name, value in values.items()
    )


def _encode_scopes(scopes: Iterable[str]) -> bytes:
    return encode_texts(1, scopes)


def _encode_security(definition: Object) -> bytes:
    """An API key, the one kind that is used."""
    numbers = {"type": 1, "name": 2, "in": 3, "description": 4}
    return encode_bytes(2, b"".join(encode_text(number, definition[key]) for key, number in numbers.items()))


def _encode_path(item: Object) -> bytes:
    methods = (encode_bytes(_METHODS[key], _encode_operation(item[key])) for key in _METHODS if key in item)
    parameters = (encode_bytes(9, _encode_parameter(parameter)) for parameter in item.get("parameters", ()))
    return b"".join((*methods, *parameters))


def _encode_operation(operation: Object) -> bytes:
    return b"".join(
        (
            encode_texts(1, operation["tags"]),
            encode_text(3, operation["description"]),
            encode_text(5, operation["operationId"]),
            encode_texts(6, operation["produces"]),
            encode_texts(7, operation.get("consumes", ())),
            *(encode_bytes(8, _encode_parameter(parameter)) for parameter in operation.get("parameters", ())),
            encode_bytes(9, _encode_named(1, operation["responses"], _encode_response)),
            _encode_extensions(13, operation),
        )
    )


def _encode_parameter(parameter: Object) -> bytes:
    """A choice in a choice: body or not, and if not, where it stands."""
    required = encode_varint(1, 1) if parameter.get("required") else b""
    if parameter["in"] == "body":
        body = encode_text(2, parameter["name"]) + encode_text(3, "body")
        body += encode_varint(4, 1) if required else b""
        return encode_bytes(1, encode_bytes(1, body + encode_bytes(5, _encode_schema(parameter["schema"]))))
    is_query = parameter["in"] == "query"
    common = required + encode_text(2, parameter["in"])
    common += encode_text(3, parameter["description"]) + encode_text(4, parameter["name"])
    common += encode_text(6 if is_query else 5, parameter["type"])
    common += encode_varint(20 if is_query else 19, 1) if parameter.get("uniqueItems") else b""
    return encode_bytes(1, encode_bytes(2, encode_bytes(3 if is_query else 4, common)))


def _encode_response(response: Object) -> bytes:
    message = encode_text(1, response["description"])
    if "schema" in response:
        message += encode_bytes(2, encode_bytes(1, _encode_schema(response["schema"])))
    return encode_bytes(1, message)


def _encode_schema(schema: Object) -> bytes:
    parts = [encode_text(number, schema[key]) for key, number in _TEXT_FIELDS.items() if key in schema]
    parts += [encode_varint(number, schema[key]) for key, number in _COUNT_FIELDS.items() if key in schema]
    parts += [encode_double(number, schema[key]) for key, number in _NUMBER_FIELDS.items() if key in schema]
    if "default" in schema:
        parts.append(encode_bytes(5, _encode_any(schema["default"])))
    parts.append(encode_texts(19, schema.get("required", ())))
    parts += [encode_bytes(20, _encode_any(value)) for value in schema.get("enum", ())]
    if "additionalProperties" in schema:
        parts.append(encode_bytes(21, encode_bytes(1, _encode_schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(encode_bytes(22, encode_text(1, schema["type"])))
    if "items" in schema:
        parts.append(encode_bytes(23, encode_bytes(1, _encode_schema(schema["items"]))))
    if "properties" in schema:
        parts.append(encode_bytes(25, _encode_named(1, schema["properties"], _encode_schema)))
    parts.append(_encode_extensions(31, schema))
    return b"".join(parts)


def _encode_extensions(number: int, document: Object) -> bytes:
    found = {key: value for key, value in document.items() if key.startswith("x-")}
    return _encode_named(number, found, _encode_any)


def _encode_any(value: Any) -> bytes:
    return encode_text(2, json.dumps(value, ensure_ascii=False) + "\n")

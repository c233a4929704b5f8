"""Schemas as OpenAPI v3, with Kubernetes' extensions. For :mod:`eaves.kube.openapi` and :mod:`eaves.kube.crd`."""

from __future__ import annotations

from collections.abc import Iterator

from eaves.kube.resource import Object
from eaves.kube.schema import ListType, MapType, Schema


def render_openapi(schema: Schema, prefix: str = "#/components/schemas/") -> Object:
    """The schema as OpenAPI v3. A schema with a ``reference`` becomes a ``$ref`` below its parent (see :func:`references`)."""
    document: Object = {}
    if schema.description:
        document["description"] = schema.description
    if schema.int_or_string:
        document["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        document["x-kubernetes-int-or-string"] = True
    elif schema.type:
        document["type"] = schema.type
    _render_limits(schema, document)
    if schema.properties:
        document["properties"] = {key: render_child(child, prefix) for key, child in schema.properties.items()}
    if schema.additional is not None:
        document["additionalProperties"] = render_child(schema.additional, prefix)
    if schema.items is not None:
        document["items"] = render_child(schema.items, prefix)
    _render_extensions(schema, document)
    return document


def render_child(schema: Schema, prefix: str) -> Object:
    """A field's schema: in place, or a reference with the field's own description and default."""
    if not schema.reference:
        return render_openapi(schema, prefix)
    document: Object = {"allOf": [{"$ref": prefix + schema.reference}]}
    if schema.description:
        document["description"] = schema.description
    if schema.default is not None:
        document["default"] = schema.default
    return document


def references(schema: Schema) -> Iterator[Schema]:
    """Every schema below that has a ``reference``, each occurrence."""
    children = [
        *schema.properties.values(),
        *(child for child in (schema.additional, schema.items) if child is not None),
    ]
    for child in children:
        if child.reference:
            yield child
        yield from references(child)


def _render_limits(schema: Schema, document: Object) -> None:
    sizes = ("minItems", "maxItems") if schema.type == "array" else ("minLength", "maxLength")
    limits = {
        "format": schema.format or None,
        "pattern": schema.pattern or None,
        "enum": list(schema.enum) or None,
        "minimum": schema.minimum,
        "maximum": schema.maximum,
        sizes[0]: schema.min_length,
        sizes[1]: schema.max_length,
        "default": schema.default,
        "nullable": schema.nullable or None,
        "required": list(schema.required) or None,
    }
    document.update({key: value for key, value in limits.items() if value is not None})


def _render_extensions(schema: Schema, document: Object) -> None:
    if schema.type == "array" and schema.list_type is not ListType.ATOMIC:
        document["x-kubernetes-list-type"] = schema.list_type.value
        if schema.list_map_keys:
            document["x-kubernetes-list-map-keys"] = list(schema.list_map_keys)
    elif schema.type == "array" and not schema.patch_strategy:
        document["x-kubernetes-list-type"] = ListType.ATOMIC.value
    if schema.map_type is MapType.ATOMIC:
        document["x-kubernetes-map-type"] = MapType.ATOMIC.value
    if schema.preserve_unknown:
        document["x-kubernetes-preserve-unknown-fields"] = True
    if schema.patch_merge_key:
        document["x-kubernetes-patch-merge-key"] = schema.patch_merge_key
    if schema.patch_strategy:
        document["x-kubernetes-patch-strategy"] = schema.patch_strategy

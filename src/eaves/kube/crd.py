"""CustomResourceDefinitions of our kinds: a real kube-apiserver can serve them too, and its answers be compared with ours.

Printed columns are left out: here they are functions, there JSON paths. So are rules beyond the schema. ``tools`` and the contract tests
that ask a kube-apiserver call this.
"""

from __future__ import annotations

import msgspec

from eaves.kube.resource import Object, Resource
from eaves.kube.schema import Schema
from eaves.kube.schema_openapi import render_openapi

SELECTABLE_LIMIT = 8
"""Selectable fields that one version of a CustomResourceDefinition may have."""


def render_crd(resource: Resource) -> Object:
    """The definition of one kind in its one version. Raises ValueError for kinds of Kubernetes itself."""
    if not resource.is_custom:
        raise ValueError(f"{resource.kind} is no custom kind")
    gvr = resource.gvr
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{gvr.resource}.{gvr.group}"},
        "spec": {
            "group": gvr.group,
            "names": _render_names(resource),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [_render_version(resource)],
        },
    }


def _render_names(resource: Resource) -> Object:
    names: Object = {
        "plural": resource.gvr.resource,
        "singular": resource.singular,
        "kind": resource.kind,
        "listKind": resource.list_kind,
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    return {key: value for key, value in names.items() if value}


def _render_version(resource: Resource) -> Object:
    version: Object = {
        "name": resource.gvr.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": render_structural(resource.schema)},
    }
    if resource.has_status:
        version["subresources"] = {"status": {}}
    fields = [{"jsonPath": f".{field}"} for field in resource.selectable_fields if not field.startswith("metadata.")]
    if fields:
        version["selectableFields"] = fields[:SELECTABLE_LIMIT]
    return version


def render_structural(schema: Schema) -> Object:
    """A whole object's schema in one piece, with the server's own idea of metadata."""
    standard = {"apiVersion": Schema(type="string"), "kind": Schema(type="string"), "metadata": Schema(type="object")}
    rest = {key: child for key, child in schema.properties.items() if key not in standard}
    properties = {**standard, **rest}
    return render_openapi(_strip(msgspec.structs.replace(schema, properties=properties)))


def _strip(schema: Schema) -> Schema:
    """The schema without references and without what only strategic merge patches read."""
    return msgspec.structs.replace(
        schema,
        properties={key: _strip(child) for key, child in schema.properties.items()},
        additional=None if schema.additional is None else _strip(schema.additional),
        items=None if schema.items is None else _strip(schema.items),
        reference="",
        patch_strategy="",
        patch_merge_key="",
    )

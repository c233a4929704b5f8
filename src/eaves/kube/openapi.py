"""OpenAPI v3: one document a group version, and the index that names them with hashes of their content.

``kubectl explain``, validation by clients and strategic merge patches read the documents; clients keep them by hash, so the index
is all they ask for again. The API's pages render them once at start. The older single document is :mod:`eaves.kube.swagger`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eaves.kube import definitions
from eaves.kube.definitions import kind_of
from eaves.kube.discovery import group_versions
from eaves.kube.operations import PREFIX, render_paths, root_of
from eaves.kube.resource import Object, Resource, Verb
from eaves.kube.schema import Schema
from eaves.kube.schema_openapi import references, render_openapi

TITLE = "Eaves"


def render_index(hashes: Mapping[str, str]) -> Object:
    """``GET /openapi/v3``. ``hashes`` gives each path of :func:`render_documents` its content hash."""
    paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path, digest in hashes.items()}
    return {"paths": paths}


def render_documents(resources: Iterable[Resource], version: str) -> dict[str, Object]:
    """Every document by its path below ``/openapi/v3/``: ``api/v1``, ``apis/eaves.dev/v1alpha1``. ``version`` is the server's."""
    served = list(resources)
    return {
        root_of(group, name): render_document(served, group, name, version) for group, name in group_versions(served)
    }


def render_document(resources: Iterable[Resource], group: str, group_version: str, version: str) -> Object:
    """The document of one group version."""
    served = [r for r in resources if (r.gvr.group, r.gvr.version) == (group, group_version)]
    schemas = render_definitions(served)
    return {
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": version},
        "paths": render_paths(served, group, group_version, frozenset(schemas)),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer token of an operator.",
                    "name": "authorization",
                    "in": "header",
                }
            },
        },
        "security": [{"BearerToken": []}],
    }


def render_definitions(resources: Sequence[Resource], prefix: str = PREFIX) -> Object:
    """Every schema that the kinds, their lists and all operations name, by name."""
    rendered: Object = {}
    for resource in resources:
        document = render_openapi(resource.schema, prefix)
        document["x-kubernetes-group-version-kind"] = [_kind(resource, resource.kind)]
        if resource.is_custom and resource.selectable_fields:
            document["x-kubernetes-selectable-fields"] = [{"fieldPath": field} for field in resource.selectable_fields]
        rendered[resource.schema.reference] = document
        if Verb.LIST in resource.verbs:
            listed = definitions.list_schema(resource)
            document = render_openapi(listed, prefix)
            document["x-kubernetes-group-version-kind"] = [_kind(resource, resource.list_kind)]
            rendered[listed.reference] = document
    for schema in _find_referenced(resources):
        rendered.setdefault(schema.reference, render_openapi(schema, prefix))
    status = rendered[definitions.STATUS.reference]
    status["x-kubernetes-group-version-kind"] = [kind_of("", "v1", "Status")]
    return dict(sorted(rendered.items()))


def _find_referenced(resources: Sequence[Resource]) -> Iterable[Schema]:
    for schema in definitions.SHARED:
        yield schema
        yield from references(schema)
    for resource in resources:
        yield from references(resource.schema)


def _kind(resource: Resource, kind: str) -> Object:
    return kind_of(resource.gvr.group, resource.gvr.version, kind)

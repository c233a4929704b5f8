"""Discovery: which groups, versions and resources there are, in the old form (one list a version) and the aggregated one.

The API's pages call this once at start, since what is served does not change while it runs. Resources that are only ever created,
such as reviews, are given like any other: their verbs say so.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

from eaves.kube.resource import Object, Resource, Subresource, Verb

AGGREGATED_VERSIONS = ("v2", "v2beta1")
"""Versions of ``apidiscovery.k8s.io`` that a client may ask for; both have the same fields."""


def render_api_versions(server_address: str) -> Object:
    """``GET /api``: versions of the core group. ``server_address`` is ``host:port`` as clients reach it."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def render_groups(resources: Iterable[Resource]) -> Object:
    """``GET /apis``: every group besides core."""
    served = list(resources)
    groups = [_render_group(served, group) for group in _groups(served) if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def render_group(resources: Iterable[Resource], group: str) -> Object | None:
    """``GET /apis/GROUP``; None when it is not served."""
    served = list(resources)
    if not group or group not in _groups(served):
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_render_group(served, group)}


def render_resources(resources: Iterable[Resource], group: str, version: str) -> Object | None:
    """``GET /api/v1`` or ``/apis/GROUP/VERSION``; None when it is not served."""
    served = _in_version(resources, group, version)
    if not served:
        return None
    listed: list[Object] = []
    for resource in served:
        listed.append(_render_resource(resource))
        listed.extend(
            _render_subresource(resource, sub) for sub in sorted(resource.subresources, key=lambda sub: sub.name)
        )
    document: Object = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"
    return {**document, "groupVersion": served[0].api_version, "resources": listed}


def render_aggregated(resources: Iterable[Resource], *, core: bool, version: str = "v2") -> Object:
    """Everything below ``/api`` (``core``) or ``/apis`` in one document of the asked ``apidiscovery.k8s.io`` version."""
    served = list(resources)
    items = [_render_group_discovery(served, group) for group in _groups(served) if bool(group) != core]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def make_etag(body: bytes) -> str:
    """The quoted entity tag of a document, by its content."""
    return f'"{hash_body(body)}"'


def hash_body(body: bytes) -> str:
    """Content hash as kube-apiserver writes it in entity tags and OpenAPI addresses: SHA-512 in capitals."""
    return hashlib.sha512(body).hexdigest().upper()


def group_versions(resources: Iterable[Resource]) -> list[tuple[str, str]]:
    """Served (group, version) pairs: the core group first, others in the order in which they appear."""
    pairs = dict.fromkeys((resource.gvr.group, resource.gvr.version) for resource in resources)
    return sorted(pairs, key=lambda pair: bool(pair[0]))


def _groups(resources: Iterable[Resource]) -> list[str]:
    return list(dict.fromkeys(group for group, _ in group_versions(resources)))


def _versions(resources: Iterable[Resource], group: str) -> list[str]:
    return [version for found, version in group_versions(resources) if found == group]


def _in_version(resources: Iterable[Resource], group: str, version: str) -> list[Resource]:
    served = (r for r in resources if (r.gvr.group, r.gvr.version) == (group, version))
    return sorted(served, key=lambda resource: resource.gvr.resource)


def _render_group(resources: Sequence[Resource], group: str) -> Object:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in _versions(resources, group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _render_resource(resource: Resource) -> Object:
    document: Object = {
        "name": resource.gvr.resource,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _order_verbs(resource),
    }
    document |= _render_nicknames(resource)
    if Verb.GET in resource.verbs:
        document["storageVersionHash"] = _hash_storage(resource)
    return document


def _order_verbs(resource: Resource) -> list[str]:
    """Sorted, or for custom kinds in the order that they have in a kube-apiserver."""
    return [verb for verb in _CUSTOM_VERBS if verb in resource.verbs] if resource.is_custom else sorted(resource.verbs)


_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _hash_storage(resource: Resource) -> str:
    """Changes when objects are stored in another version, upon which migrators look. Made as a kube-apiserver makes it."""
    gvr = resource.stored_as or resource.gvr
    digest = hashlib.sha256(f"{gvr.group}/{gvr.version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _render_subresource(resource: Resource, sub: Subresource) -> Object:
    document: Object = {
        "name": f"{resource.gvr.resource}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if sub.kind and sub.group:
        document["group"] = sub.group
        document["version"] = sub.version
    document["kind"] = sub.kind or resource.kind
    document["verbs"] = sorted(sub.verbs)
    return document


def _render_nicknames(resource: Resource) -> Object:
    nicknames = {"shortNames": list(resource.short_names), "categories": list(resource.categories)}
    return {key: value for key, value in nicknames.items() if value}


def _render_group_discovery(resources: Sequence[Resource], group: str) -> Object:
    versions = [
        {
            "version": version,
            "resources": [_render_discovery(resource) for resource in _in_version(resources, group, version)],
            "freshness": "Current",
        }
        for version in _versions(resources, group)
    ]
    return {"metadata": {"name": group} if group else {}, "versions": versions}


def _render_discovery(resource: Resource) -> Object:
    document: Object = {
        "resource": resource.gvr.resource,
        "responseKind": _response_kind(resource, None),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _order_verbs(resource),
        **_render_nicknames(resource),
    }
    if resource.subresources:
        document["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(resource, sub), "verbs": sorted(sub.verbs)}
            for sub in sorted(resource.subresources, key=lambda sub: sub.name)
        ]
    return document


def _response_kind(resource: Resource, sub: Subresource | None) -> Object:
    if sub is not None and sub.kind and sub.version:
        return {"group": sub.group, "version": sub.version, "kind": sub.kind}
    kind = resource.kind if sub is None else sub.kind or resource.kind
    return {"group": resource.gvr.group, "version": resource.gvr.version, "kind": kind}

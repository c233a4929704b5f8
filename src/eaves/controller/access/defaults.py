"""The roles and bindings that every controller has: those of Kubernetes, as far as there is something here for them to allow.

``admin``, ``edit`` and ``view`` are made of parts by label, so that others can add theirs. The group's own kinds come from the registry: a
new one is in the roles without a line here. Pure data; :mod:`eaves.controller.access.wanting` makes the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from eaves.kinds import absent
from eaves.kinds import rbac as kinds
from eaves.kinds.registry import RESOURCES
from eaves.kinds.serving import GROUP as EAVES
from eaves.kube import rbac
from eaves.kube.resource import Object, Resource

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
"""Annotation: ``false`` keeps the controller's hands off a role or binding at its start."""
GRANTED = f"{EAVES}/granted-rules"
"""Annotation: the rules that the controller itself gave a role last, as JSON. What is among them and no more wanted is taken back."""
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_GRANTING = ("k3sclusteraccesses", "k3sclusters", "k3sreleases")
"""Kinds of our own that give rights: written by ``admin`` alone, as role bindings are. Add-ons and options of a K3sCluster act as its
administrator, the program of a K3sRelease runs as root on nodes (decision 21).
"""
FORMERLY_GRANTED = {"system:aggregate-to-edit": _GRANTING}
"""Resources of our group, by role, that releases granted which kept no record of it (:data:`GRANTED`)."""
_TALKING = frozenset({"console", "export", "vnc", "proxy", "exec", "attach", "portforward"})
"""Subresources by which one acts and not only looks."""
_AUTHENTICATED, _UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
_HEALTH = ["/healthz", "/livez", "/readyz", "/version", "/version/"]


def default_roles() -> list[Object]:
    """ClusterRoles as they are wanted, without the rules of those that are aggregated."""
    return [
        _role("cluster-admin", [_on(["*"], ["*"], ["*"]), _paths(["*"], ["*"])]),
        _role("system:discovery", [_paths(["get"], _discovery_paths())]),
        _role("system:public-info-viewer", [_paths(["get"], _HEALTH)]),
        _role("system:basic-user", _basic_rules()),
        _role("system:monitoring", [_paths(["get"], _monitoring_paths())]),
        _role("system:service-account-issuer-discovery", [_paths(["get"], _issuer_paths())]),
        _role("system:auth-delegator", _delegator_rules()),
        _aggregated("admin", ("admin",)),
        _aggregated("edit", ("edit",), part_of="admin"),
        _aggregated("view", ("view",), part_of="edit"),
        _role("eaves:fleet-view", _fleet_rules()),
        _role("system:aggregate-to-admin", _admin_rules(), {f"{_AGGREGATE}admin": "true"}),
        _role("system:aggregate-to-edit", _edit_rules(), {f"{_AGGREGATE}edit": "true"}),
        _role("system:aggregate-to-view", _view_rules(), {f"{_AGGREGATE}view": "true"}),
    ]


def default_bindings() -> list[Object]:
    """ClusterRoleBindings as they are wanted."""
    return [
        _binding("cluster-admin", ["system:masters"]),
        _binding("system:discovery", [_AUTHENTICATED]),
        _binding("system:basic-user", [_AUTHENTICATED]),
        _binding("system:public-info-viewer", [_AUTHENTICATED, _UNAUTHENTICATED]),
        _binding("system:monitoring", ["system:monitoring"]),
        _binding("system:service-account-issuer-discovery", ["system:serviceaccounts"]),
    ]


def _view_rules() -> list[Object]:
    core = [
        "configmaps",
        "events",
        "namespaces",
        "namespaces/status",
        "pods",
        "pods/log",
        "pods/status",
        "serviceaccounts",
    ]
    return [
        _on(_READ, [""], core),
        _on(_READ, ["coordination.k8s.io"], ["leases"]),
        _on(_READ, ["events.k8s.io"], ["events"]),
        _on(_READ, ["metrics.k8s.io"], ["pods"]),
        _on(_READ, [EAVES], _own_resources(is_writing=False)),
        *_absent_rules(),
    ]


def _absent_rules() -> list[Object]:
    """Who may look at what runs in a namespace may find that there is nothing of these."""
    named: dict[str, list[str]] = {}
    for resource in absent.RESOURCES:
        if resource.namespaced:
            named.setdefault(resource.gvr.group, []).append(resource.gvr.resource)
    return [_on(_READ, [group], sorted(names)) for group, names in named.items()]


def _edit_rules() -> list[Object]:
    talking = ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets"]
    return [
        _on(_READ, [""], talking),
        _on(["impersonate"], [""], ["serviceaccounts"]),
        _on(["create"], [""], ["serviceaccounts/token"]),
        _on(_WRITE, [""], ["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]),
        _on(["create"], [""], ["pods/eviction"]),
        _on(_WRITE, [""], ["configmaps", "events", "secrets", "serviceaccounts"]),
        _on(_WRITE, ["coordination.k8s.io"], ["leases"]),
        _on(_WRITE, ["events.k8s.io"], ["events"]),
        _on(_READ + _WRITE, [EAVES], _own_resources(is_writing=True)),
    ]


def _admin_rules() -> list[Object]:
    return [
        _on(["create"], ["authorization.k8s.io"], ["localsubjectaccessreviews"]),
        _on(_READ + _WRITE, [rbac.GROUP], ["rolebindings", "roles"]),
        _on(_READ + _WRITE, [EAVES], list(_GRANTING)),
    ]


def _fleet_rules() -> list[Object]:
    """What is in no namespace: nodes and all that is about them."""
    shared = [resource for resource in RESOURCES if resource.gvr.group == EAVES and not resource.namespaced]
    return [
        _on(_READ, [""], ["namespaces", "nodes", "nodes/status"]),
        _on(_READ, ["metrics.k8s.io"], ["nodes"]),
        _on(
            _READ,
            [EAVES],
            sorted(name for each in shared for name in (each.gvr.resource, f"{each.gvr.resource}/status")),
        ),
    ]


def _own_resources(*, is_writing: bool) -> list[str]:
    """Namespaced kinds of our group: with their status for those who look, with what is talked through for those who act."""
    found: list[str] = []
    for resource in _own():
        name = resource.gvr.resource
        if name not in _GRANTING or not is_writing:
            found.append(name)
        found.extend(
            f"{name}/{sub.name}"
            for sub in resource.subresources
            if (sub.name in _TALKING) == is_writing and (sub.name != "status" or not is_writing)
        )
    return sorted(found)


def _own() -> Iterable[Resource]:
    return (resource for resource in RESOURCES if resource.gvr.group == EAVES and resource.namespaced)


def _basic_rules() -> list[Object]:
    return [
        _on(["create"], ["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        _on(["create"], ["authentication.k8s.io"], ["selfsubjectreviews"]),
    ]


def _delegator_rules() -> list[Object]:
    return [
        _on(["create"], ["authentication.k8s.io"], ["tokenreviews"]),
        _on(["create"], ["authorization.k8s.io"], ["subjectaccessreviews"]),
    ]


def _discovery_paths() -> list[str]:
    return sorted(["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH])


def _monitoring_paths() -> list[str]:
    return ["/metrics", *(path for base in ("/healthz", "/livez", "/readyz") for path in (base, f"{base}/*"))]


def _issuer_paths() -> list[str]:
    document, keys = "/.well-known/openid-configuration", "/openid/v1/jwks"
    return [document, f"{document}/", keys, f"{keys}/"]


def _on(verbs: Sequence[str], groups: Sequence[str], resources: Sequence[str]) -> Object:
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}


def _paths(verbs: Sequence[str], paths: Sequence[str]) -> Object:
    return {"nonResourceURLs": list(paths), "verbs": list(verbs)}


def _role(name: str, rules: list[Object], labels: dict[str, str] | None = None) -> Object:
    role = {**_object(kinds.CLUSTER_ROLE, name, labels or {}), "rules": rules}
    role["metadata"]["annotations"][GRANTED] = msgspec.json.encode(rules).decode()
    return role


def list_granted(role: Object) -> list[Object]:
    """Rules that the controller itself gave a stored role."""
    meta = role["metadata"]
    kept = (meta.get("annotations") or {}).get(GRANTED)
    if kept is None:
        return [_on(_READ + _WRITE, [EAVES], FORMERLY_GRANTED.get(meta["name"], ()))]
    try:
        return msgspec.json.decode(kept, type=list[dict[str, Any]])
    except msgspec.MsgspecError:
        return []


def _aggregated(name: str, parts: Sequence[str], part_of: str = "") -> Object:
    labels = {f"{_AGGREGATE}{part_of}": "true"} if part_of else {}
    selectors: list[Any] = [{"matchLabels": {f"{_AGGREGATE}{part}": "true"}} for part in parts]
    return {**_object(kinds.CLUSTER_ROLE, name, labels), "aggregationRule": {"clusterRoleSelectors": selectors}}


def _binding(role: str, groups: Sequence[str]) -> Object:
    subjects = [{"apiGroup": rbac.GROUP, "kind": "Group", "name": group} for group in groups]
    reference = {"apiGroup": rbac.GROUP, "kind": "ClusterRole", "name": role}
    return {**_object(kinds.CLUSTER_ROLE_BINDING, role, {}), "roleRef": reference, "subjects": subjects}


def _object(resource: Resource, name: str, labels: dict[str, str]) -> Object:
    meta = {"name": name, "labels": BOOTSTRAPPING | labels, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}

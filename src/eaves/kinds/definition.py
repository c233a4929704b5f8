"""CustomResourceDefinition: what kinds of this API are, in the form in which tools look for kinds that Kubernetes does not have.

k9s, Helm and kubectl list them. They are computed from the kinds and cannot be changed: which kinds there are is a matter of the
program's version.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Struct

from eaves.kinds.columns import at, get
from eaves.kinds.fields import about
from eaves.kinds.serving import core_resource
from eaves.kube.crd import render_crd
from eaves.kube.resource import Column, Object, Resource, Verb
from eaves.kube.tables import name_column

GROUP = "apiextensions.k8s.io"


class CustomResourceDefinition(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """CustomResourceDefinition tells of one kind: its names, scope and schema."""

    spec: Annotated[dict, about("Names, scope, and each version with its schema.")]  # type: ignore[type-arg] # any object
    status: Annotated[dict, about("Whether the kind is served.")] = {}  # type: ignore[type-arg] # any object


def render_definitions(resources: Iterable[Resource], created: str) -> Sequence[Object]:
    """One a custom kind, sorted by name. ``created`` is RFC 3339: the kinds have been there since."""
    rendered = [_render(resource, created) for resource in resources if resource.is_custom]
    return sorted(rendered, key=lambda obj: str(obj["metadata"]["name"]))


def _render(resource: Resource, created: str) -> Object:
    definition = render_crd(resource)
    name, spec = definition["metadata"]["name"], definition["spec"]
    return {
        **definition,
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"crd/{name}")),
            "generation": 1,
            "creationTimestamp": created,
        },
        "spec": {**spec, "conversion": {"strategy": "None"}},
        "status": {
            "conditions": [
                _render_condition("NamesAccepted", "NoConflicts", "no conflicts found", created),
                _render_condition(
                    "Established", "InitialNamesAccepted", "the initial names have been accepted", created
                ),
            ],
            "acceptedNames": spec["names"],
            "storedVersions": [resource.gvr.version],
        },
    }


def _render_condition(kind: str, reason: str, message: str, since: str) -> Object:
    return {"type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}


def _versions(obj: Object, _now: float) -> str:
    return ",".join(
        f"{each['name']}{'(storage)' if each['storage'] else ''}" for each in get(obj, ["spec", "versions"])
    )


def _short_names(obj: Object, _now: float) -> str:
    return ",".join(get(obj, ["spec", "names", "shortNames"], ()))


def _established(obj: Object, _now: float) -> Any:
    conditions = get(obj, ["status", "conditions"], ())
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


RESOURCE = core_resource(
    CustomResourceDefinition,
    "customresourcedefinitions",
    namespaced=False,
    group=GROUP,
    group_reference="apiextensions",
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    verbs=frozenset({Verb.CREATE, Verb.GET, Verb.LIST, Verb.WATCH}),
    columns=(
        name_column(),
        Column("Scope", "string", at("spec.scope"), "Cluster or Namespaced."),
        Column("Versions", "string", _versions, "Versions that are served."),
        Column("Created At", "date", at("metadata.creationTimestamp"), "Since when it is there."),
        Column("Group", "string", at("spec.group"), "API group.", priority=1),
        Column("Kind", "string", at("spec.names.kind"), "Kind of the objects.", priority=1),
        Column("ShortNames", "string", _short_names, "Short names.", priority=1),
        Column("Established", "boolean", _established, "Whether the kind is served.", priority=1),
    ),
)

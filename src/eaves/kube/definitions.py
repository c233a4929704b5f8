"""OpenAPI definitions that every group version shares: Status, delete options, lists, watch events, discovery answers.

Read by :mod:`eaves.kube.openapi`. Their names are those of Kubernetes, since generated clients look for them.
"""

from __future__ import annotations

from eaves.kube.metadata import LIST_META, MANAGED_FIELDS_ENTRY, OBJECT_META, OWNER_REFERENCE
from eaves.kube.resource import Object, Resource
from eaves.kube.schema import Schema

META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def _text(description: str) -> Schema:
    return Schema(type="string", description=description)


def _flag(description: str) -> Schema:
    return Schema(type="boolean", description=description)


def _count(description: str, size: str = "int64") -> Schema:
    return Schema(type="integer", format=size, description=description)


def _texts(description: str) -> Schema:
    return Schema(type="array", items=Schema(type="string"), description=description)


_API_VERSION = _text("APIVersion defines the versioned schema of this representation of an object.")
_KIND = _text("Kind is the type of this object, in CamelCase.")

STATUS_CAUSE = Schema(
    type="object",
    description="StatusCause is one reason of a failure.",
    properties={
        "field": _text("Field that is the cause, as a path in the object."),
        "message": _text("The cause, for people."),
        "reason": _text("The cause, for programs."),
    },
    reference=META + "StatusCause",
)

STATUS_DETAILS = Schema(
    type="object",
    description="StatusDetails says more on what an answer is about.",
    properties={
        "causes": Schema(type="array", items=STATUS_CAUSE, description="Each reason of the failure."),
        "group": _text("Group of the resource."),
        "kind": _text("Kind or resource that the answer is about."),
        "name": _text("Name of the object."),
        "retryAfterSeconds": _count("Seconds to wait before trying again.", "int32"),
        "uid": _text("UID of the object."),
    },
    reference=META + "StatusDetails",
)

STATUS = Schema(
    type="object",
    description="Status is the answer of calls that return no object.",
    properties={
        "apiVersion": _API_VERSION,
        "code": _count("HTTP status code.", "int32"),
        "details": STATUS_DETAILS,
        "kind": _KIND,
        "message": _text("What happened, for people."),
        "metadata": LIST_META,
        "reason": _text("Why it failed, for programs."),
        "status": _text("Success or Failure."),
    },
    reference=META + "Status",
)

PRECONDITIONS = Schema(
    type="object",
    description="Preconditions must hold for an operation to be carried out.",
    properties={
        "resourceVersion": _text("Version that the object must have."),
        "uid": _text("UID that the object must have."),
    },
    reference=META + "Preconditions",
)

DELETE_OPTIONS = Schema(
    type="object",
    description="DeleteOptions says how to delete.",
    properties={
        "apiVersion": _API_VERSION,
        "dryRun": _texts("All: go through every stage, keep nothing."),
        "gracePeriodSeconds": _count("Seconds that the object is given to end."),
        "kind": _KIND,
        "orphanDependents": _flag("Older form of propagationPolicy: Orphan when true, Background when false."),
        "preconditions": PRECONDITIONS,
        "propagationPolicy": _text("What happens to objects that this one owns: Orphan, Background or Foreground."),
    },
    reference=META + "DeleteOptions",
)

PATCH = Schema(type="object", description="Patch describes a change of an object.", reference=META + "Patch")

WATCH_EVENT = Schema(
    type="object",
    description="Event is one change of a watched resource.",
    properties={
        "object": Schema(type="object", description="The object after the change, or a Status.", preserve_unknown=True),
        "type": _text("ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."),
    },
    required=("type", "object"),
    reference=META + "WatchEvent",
)

API_RESOURCE = Schema(
    type="object",
    description="APIResource names a resource and what can be done with it.",
    properties={
        "categories": _texts("Groups of resources that it belongs to, such as all."),
        "group": _text("Group of its objects when it differs from the list's."),
        "kind": _text("Kind of its objects."),
        "name": _text("Plural name."),
        "namespaced": _flag("Whether its objects are in namespaces."),
        "shortNames": _texts("Short names for command lines."),
        "singularName": _text("Singular name."),
        "verbs": _texts("What can be done with it."),
        "version": _text("Version of its objects when it differs from the list's."),
    },
    required=("name", "singularName", "namespaced", "kind", "verbs"),
    reference=META + "APIResource",
)

API_RESOURCE_LIST = Schema(
    type="object",
    description="APIResourceList lists the resources of a group version.",
    properties={
        "apiVersion": _API_VERSION,
        "groupVersion": _text("The group version."),
        "kind": _KIND,
        "resources": Schema(type="array", items=API_RESOURCE, description="The resources."),
    },
    required=("groupVersion", "resources"),
    reference=META + "APIResourceList",
)

QUANTITY = Schema(
    int_or_string=True,
    description="Quantity is an exact number with a decimal (m, k, M, G …) or binary (Ki, Mi, Gi …) suffix.",
    reference="io.k8s.apimachinery.pkg.api.resource.Quantity",
)

SHARED = (
    QUANTITY,
    OBJECT_META,
    LIST_META,
    OWNER_REFERENCE,
    MANAGED_FIELDS_ENTRY,
    STATUS,
    STATUS_DETAILS,
    STATUS_CAUSE,
    PRECONDITIONS,
    DELETE_OPTIONS,
    PATCH,
    WATCH_EVENT,
    API_RESOURCE,
    API_RESOURCE_LIST,
)


def list_schema(resource: Resource) -> Schema:
    """The list of a kind."""
    return Schema(
        type="object",
        description=f"{resource.list_kind} is a list of {resource.kind}.",
        properties={
            "apiVersion": _API_VERSION,
            "items": Schema(type="array", items=resource.schema, description="The objects."),
            "kind": _KIND,
            "metadata": LIST_META,
        },
        required=("items",),
        reference=f"{resource.schema.reference}List",
    )


def kind_of(group: str, version: str, kind: str) -> Object:
    """The value of ``x-kubernetes-group-version-kind`` for one kind."""
    return {"group": group, "kind": kind, "version": version}

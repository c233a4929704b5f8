"""Namespace: a space for names."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from eaves.kinds.columns import at
from eaves.kinds.fields import Conditions, about
from eaves.kinds.serving import STATUS, core_resource, text_at
from eaves.kube.resource import ALL_VERBS, Column, Object, Subresource, Verb
from eaves.kube.tables import age_column, name_column

NAME_LABEL = "kubernetes.io/metadata.name"
"""Every namespace carries its name in this label, so that selectors can name it."""

FINALIZER = "kubernetes"


class NamespaceSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Who must agree before the namespace goes."""

    finalizers: Annotated[list[str], about("Empty once its contents are gone.")] = []


class NamespaceStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where the namespace stands."""

    phase: Annotated[str, about("Active or Terminating.")] = ""
    conditions: Conditions = []


class Namespace(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Namespace provides a scope for names."""

    spec: Annotated[NamespaceSpec, about("Finalizers.")] = NamespaceSpec()
    status: Annotated[NamespaceStatus, about("Phase.")] = NamespaceStatus()


def default_namespace(obj: Object) -> None:
    """Fills in the label with its name, its finalizer and its phase."""
    metadata = obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}
    if "spec" not in obj:
        obj["spec"] = {"finalizers": [FINALIZER]}
    obj.setdefault("status", {}).setdefault("phase", "Active")


RESOURCE = core_resource(
    Namespace,
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    verbs=ALL_VERBS - {Verb.DELETE_COLLECTION},
    subresources=(STATUS, Subresource("finalize", frozenset({"update"}))),
    columns=(
        name_column(),
        Column("Status", "string", at("status.phase"), "The status of the namespace"),
        age_column(),
    ),
    selectable_fields={"status.phase": text_at("status", "phase")},
    default=default_namespace,
    has_status=True,
    unowned=("spec",),
)

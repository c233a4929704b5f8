"""Namespace: a space for names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Struct

from eaves.kinds.columns import at
from eaves.kinds.fields import Condition, about, merging
from eaves.kinds.rules import invalid
from eaves.kinds.serving import STATUS, core_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.metadata import check_finalizer
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
    conditions: Annotated[list[Condition], merging("type", "What is known of its deletion.")] = []


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


def check_namespace(new: Object, old: Object | None) -> Iterator[FieldError]:
    """What may be changed of its phase and of who holds it; both are the server's to fill in at first."""
    if old is None:
        return
    phase = (new.get("status") or {}).get("phase", "")
    right = "Terminating" if new["metadata"].get("deletionTimestamp") else "Active"
    if phase not in (right, (old.get("status") or {}).get("phase")):
        is_empty = "not empty" if right == "Terminating" else "empty"
        yield invalid("status.Phase", phase, f"may only be '{right}' if `deletionTimestamp` is {is_empty}")
    finalizers = (new.get("spec") or {}).get("finalizers") or ()
    if finalizers != (old.get("spec") or {}).get("finalizers"):
        for index, finalizer in enumerate(finalizers):
            yield from check_finalizer(f"spec.finalizers[{index}]", finalizer)


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
    validate=lambda new, old: list(check_namespace(new, old)),
    has_status=True,
    status_has_metadata=True,
    unowned=("spec",),
)

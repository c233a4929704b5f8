"""Lease: what clients elect their leaders by, and in one namespace a view of EdgeNodes' last contact.

The views live in the namespace ``kube-node-lease``, one a node, with the node's name; ``kubectl describe node`` reads them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from eaves.kinds.columns import at
from eaves.kinds.fields import MicroTime, about
from eaves.kinds.rules import invalid
from eaves.kinds.serving import core_resource
from eaves.kinds.times import render_time
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object
from eaves.kube.tables import age_column, name_column

NAMESPACE = "kube-node-lease"
DURATION_S = 40
INT32 = Meta(extra_json_schema={"format": "int32"})


class LeaseSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Who holds the lease and until when."""

    holder_identity: Annotated[str | None, about("Who holds it.")] = None
    lease_duration_seconds: Annotated[int | None, INT32, about("How long it lasts after renewTime.")] = None
    acquire_time: Annotated[MicroTime | None, about("When it was taken.")] = None
    renew_time: Annotated[MicroTime | None, about("When it was last renewed.")] = None
    lease_transitions: Annotated[int | None, INT32, about("How often it changed hands.")] = None
    strategy: Annotated[str | None, about("Strategy of coordinated leader election.")] = None
    preferred_holder: Annotated[str | None, about("Who should hold it next.")] = None


class Lease(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Lease shows that its holder is alive."""

    spec: Annotated[LeaseSpec, about("Holder and times.")] = LeaseSpec()


def project_lease(edgenode: Object, last_seen: float) -> Object:
    """The lease of a node. ``last_seen`` is the last contact in Unix seconds, 0 = never."""
    metadata = edgenode["metadata"]
    spec: Object = {"holderIdentity": metadata["name"], "leaseDurationSeconds": DURATION_S}
    if last_seen:
        spec["renewTime"] = render_time(last_seen).removesuffix("Z") + ".000000Z"
    owner = {"apiVersion": "v1", "kind": "Node", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": metadata["name"],
            "namespace": NAMESPACE,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"lease/{metadata['uid']}")),
            "resourceVersion": metadata.get("resourceVersion", ""),
            "creationTimestamp": metadata.get("creationTimestamp"),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def check_lease(new: Object, old: Object | None) -> Sequence[FieldError]:
    """The rules that Kubernetes has for a Lease's numbers (``pkg/apis/coordination/validation``)."""
    spec = new.get("spec") or {}
    faults = []
    if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
        faults.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
        faults.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return faults


def default_lease(obj: Object) -> None:
    """Coordinated election is off unless a cluster's operator turns it on: what is asked of it is not kept."""
    spec = obj.get("spec") or {}
    for name in ("strategy", "preferredHolder"):
        spec.pop(name, None)


RESOURCE = core_resource(
    Lease,
    "leases",
    namespaced=True,
    group="coordination.k8s.io",
    group_reference="coordination",
    columns=(name_column(), Column("Holder", "string", at("spec.holderIdentity"), "Who holds it."), age_column()),
    default=default_lease,
    validate=check_lease,
    zero_fields={"spec": {}},
    has_generation=False,
    creates_on_update=True,
    needs_version=True,
)

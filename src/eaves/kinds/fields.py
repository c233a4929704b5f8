"""Field types that several kinds share: documented text, keyed lists, quantities, references, taints, conditions.

Used by the Structs of this package only. The descriptions are what ``kubectl explain`` prints; list types are what
server-side apply merges by.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct

from eaves.kube.schema import MICRO_TIME


def about(description: str, **limits: Any) -> Meta:
    """Documentation (and limits such as ``ge``, ``max_length``) of one field."""
    return Meta(description=description, **limits)


def keyed(*keys: str, description: str = "", max_length: int | None = None) -> Meta:
    """A list whose items are told apart by ``keys``, so that two writers can each own their items."""
    extra = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return Meta(description=description, extra_json_schema=extra, max_length=max_length)


def unique(*, description: str = "", max_length: int | None = None) -> Meta:
    """A list of scalars without order or repetition."""
    return Meta(description=description, extra_json_schema={"x-kubernetes-list-type": "set"}, max_length=max_length)


def merging(key: str, description: str) -> Meta:
    """A keyed list of a core kind, which strategic merge patch merges by ``key`` too."""
    extra = {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "x-kubernetes-patch-merge-key": key,
        "x-kubernetes-patch-strategy": "merge",
    }
    return Meta(description=description, extra_json_schema=extra)


_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

Quantity = Annotated[int | str, Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "reference": _QUANTITY})]
"""A Kubernetes quantity: ``500m``, ``2``, ``128Mi``."""

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC with seconds: ``2026-11-24T18:00:00Z``."""

MicroTime = Annotated[str, Meta(extra_json_schema={"format": "date-time", "reference": MICRO_TIME})]
"""The same with microseconds, all six digits, without which Go clients cannot read it: ``2026-11-24T18:00:00.000000Z``."""


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One aspect of an object's state, with the moment it last changed."""

    type: Annotated[str, about("What the condition is about, in CamelCase.")]
    status: Annotated[ConditionStatus, about("True, False or Unknown.")]
    reason: Annotated[str, about("Why, as one CamelCase word.")] = ""
    message: Annotated[str, about("Why, for people, with what to do next.")] = ""
    last_transition_time: Annotated[Time | None, about("When status last changed.")] = None
    observed_generation: Annotated[int | None, about("Generation of the spec that this was seen for.")] = None


Conditions = Annotated[list[Condition], keyed("type", description="What is known of the object's state.")]


class LocalReference(Struct, frozen=True, rename="camel", kw_only=True):
    """Names an object in the same namespace."""

    name: Annotated[str, about("Name of the object.", min_length=1, max_length=253)]


class KeyReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names one key of a Secret or ConfigMap in the same namespace."""

    name: Annotated[str, about("Name of the Secret or ConfigMap.", min_length=1, max_length=253)]
    key: Annotated[str, about("Key in its data.", min_length=1, max_length=253)]
    optional: Annotated[bool | None, about("Go on without when the object or the key is missing.")] = None


class SourceReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names a Secret or ConfigMap in the same namespace whose keys are all taken."""

    name: Annotated[str, about("Name of the Secret or ConfigMap.", min_length=1, max_length=253)]
    optional: Annotated[bool | None, about("Go on without when the object is missing.")] = None


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Taint(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Keeps workloads away from a node unless they tolerate it."""

    key: Annotated[str, about("Taint key, a label name.", min_length=1)]
    effect: Annotated[TaintEffect, about("What happens to workloads that do not tolerate the taint.")]
    value: Annotated[str | None, about("Taint value.")] = None
    time_added: Annotated[Time | None, about("When the taint was added, for NoExecute.")] = None


class AddressType(StrEnum):
    HOSTNAME = "Hostname"
    INTERNAL_IP = "InternalIP"
    EXTERNAL_IP = "ExternalIP"
    INTERNAL_DNS = "InternalDNS"
    EXTERNAL_DNS = "ExternalDNS"


class NodeAddress(Struct, frozen=True, rename="camel", kw_only=True):
    """One address of a node."""

    type: Annotated[AddressType, about("Kind of address.")]
    address: Annotated[str, about("The address.")]


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One demand on a label."""

    key: Annotated[str, about("Label.", min_length=1)]
    operator: Annotated[SelectorOperator, about("In, NotIn, Exists or DoesNotExist.")]
    values: Annotated[list[str], about("Values for In and NotIn.")] = []


class LabelSelector(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Chooses objects by their labels; all demands must be met."""

    match_labels: Annotated[dict[str, str], about("Labels and the values that they must have.")] = {}
    match_expressions: Annotated[list[SelectorRequirement], about("Further demands.")] = []

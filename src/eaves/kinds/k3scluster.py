"""K3sCluster: a Kubernetes cluster of K3s over chosen EdgeNodes.

``metadata.uid`` is the cluster's UUID in the device API.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.columns import Getter, at, condition, get
from eaves.kinds.fields import about
from eaves.kinds.k3scluster_rules import check_cluster, find_warnings
from eaves.kinds.k3scluster_spec import K3sClusterSpec
from eaves.kinds.k3scluster_status import K3sClusterStatus
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.resource import Column, Object, Subresource

FINALIZER = "eaves.dev/k3s-members"
"""Keeps a deleted K3sCluster until its members have left."""
FORGET_ANNOTATION = "eaves.dev/forget-members"
"""Names of members, joined by commas, that a deletion does not wait for: they are gone for good."""


class K3sCluster(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A K3s cluster over chosen nodes, beside their apps and virtual machines."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: K3sClusterSpec
    status: K3sClusterStatus = K3sClusterStatus()


def decode(obj: Object) -> K3sCluster:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, K3sCluster)


def named_nodes(spec: Object) -> dict[str, str]:
    """Nodes that a spec names, each with the path of its field. For admission."""
    found: dict[str, str] = {}
    for field in ("agents", "servers"):
        for index, name in enumerate((spec.get(field) or {}).get("nodeNames") or ()):
            found[str(name)] = f"spec.{field}.nodeNames[{index}]"
    return found


def _count(field: str) -> Getter:
    def value(obj: Object, _now: float) -> str:
        counted = get(obj, ["status", field], None)
        return f"{counted.get('ready', 0)}/{counted.get('wanted', 0)}" if isinstance(counted, dict) else ""

    return value


RESOURCE = eaves_resource(
    K3sCluster,
    "k3sclusters",
    namespaced=True,
    short_names=("k3s",),
    categories=("eaves", "all"),
    columns=(
        Column("Phase", "string", at("status.phase"), "Summary of the conditions."),
        Column("Version", "string", at("status.version"), "Lowest version that a member runs."),
        Column("Servers", "string", _count("servers"), "Servers that are ready, of those that are wanted."),
        Column("Agents", "string", _count("agents"), "Agents that are ready, of those that are wanted."),
        Column("API", "string", condition("APIAvailable"), "Whether the cluster's API answers."),
        Column("Wanted", "string", at("spec.version"), "Version that is asked for.", priority=1),
        Column("Leader", "string", at("status.leader"), "Server that acts for the cluster.", priority=1),
        Column("Message", "string", at("status.message"), "What it waits for.", priority=1),
    ),
    selectable_fields={"spec.version": text_at("spec", "version"), "status.phase": text_at("status", "phase")},
    subresources=(Subresource("proxy", frozenset({"get", "create", "update", "patch", "delete"})),),
    validate=check_cluster,
    warn=find_warnings,
)

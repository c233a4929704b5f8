"""K3sCluster: a Kubernetes cluster of K3s over chosen EdgeNodes.

``metadata.uid`` is the cluster's UUID in the device API.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.columns import Getter, age_of, at, condition, get
from eaves.kinds.fields import about
from eaves.kinds.k3scluster_rules import check_cluster, find_warnings
from eaves.kinds.k3scluster_spec import ClusterDatastore, K3sClusterSpec
from eaves.kinds.k3scluster_status import K3sClusterStatus, MemberRole
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.resource import Column, Object, Subresource
from eaves.kube.tables import parse_time, render_duration

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


def has_node(cluster: Object, name: str) -> bool:
    """Whether it names the node or has it as a member."""
    members = (cluster.get("status") or {}).get("members") or ()
    return name in named_nodes(cluster.get("spec") or {}) or any(member.get("nodeName") == name for member in members)


def _count(field: str) -> Getter:
    def value(obj: Object, _now: float) -> str:
        counted = get(obj, ["status", field], None)
        return f"{counted.get('ready', 0)}/{counted.get('wanted', 0)}" if isinstance(counted, dict) else ""

    return value


def _etcd(obj: Object, _now: float) -> str:
    """Healthy members of those that are servers with embedded etcd."""
    if get(obj, ["spec", "datastore"], ClusterDatastore.EMBEDDED_ETCD) != ClusterDatastore.EMBEDDED_ETCD:
        return ""
    servers = [entry for entry in get(obj, ["status", "members"], []) if entry.get("role") == MemberRole.SERVER]
    return f"{sum(1 for entry in servers if entry.get('etcdHealthy'))}/{len(servers)}" if servers else ""


def _pods(obj: Object, _now: float) -> str:
    pods = get(obj, ["status", "pods"], None)
    return f"{pods.get('running', 0)}/{pods.get('total', 0)}" if isinstance(pods, dict) else ""


def _add_ons(obj: Object, _now: float) -> str:
    entries = get(obj, ["status", "addOns"], [])
    return f"{sum(1 for entry in entries if entry.get('state') == 'Ready')}/{len(entries)}" if entries else ""


def _certificates(obj: Object, now: float) -> str:
    """How long the first certificate that ends is good for still."""
    ends = parse_time(get(obj, ["status", "certificatesExpireAt"]))
    if ends is None:
        return ""
    return render_duration(ends - now) if ends > now else "expired"


def _snapshot(obj: Object, now: float) -> str:
    """Age of the newest snapshot that was taken without a fault."""
    good = [entry for entry in get(obj, ["status", "snapshots"], []) if not entry.get("message")]
    return age_of(str(good[0].get("takenAt", "")), now) if good else ""


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
        Column("Etcd", "string", _etcd, "Members of the embedded etcd that are healthy, of all.", priority=1),
        Column("Pods", "string", _pods, "Pods that run, of all.", priority=1),
        Column("Add-Ons", "string", _add_ons, "Add-ons that are ready, of all.", priority=1),
        Column("Certificates", "string", _certificates, "How long all certificates are valid still.", priority=1),
        Column("Snapshot", "string", _snapshot, "Age of the newest snapshot.", priority=1),
        Column("Message", "string", at("status.message"), "What it waits for.", priority=1),
    ),
    selectable_fields={"spec.version": text_at("spec", "version"), "status.phase": text_at("status", "phase")},
    subresources=(Subresource("proxy", frozenset({"get", "create", "update", "patch", "delete"})),),
    validate=check_cluster,
    warn=find_warnings,
)

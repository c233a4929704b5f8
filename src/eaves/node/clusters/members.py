"""What the leader does to bring each member's Node to what the config wishes: pure.

A drain is kubectl's: cordon, then evict what is neither the node's own nor a DaemonSet's, by the eviction API, so that disruption
budgets hold. Only a cordon that was set here is taken away again. A removed server's etcd member goes first: K3s does it when its
Node bears ``etcd.k3s.cattle.io/remove``, and answers with ``removed-node-name``; then the Node is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from eaves.node.clusters.observe import ETCD_LABEL, PodSeen, list_evictable
from eaves.node.desired.cluster_model import ClusterMember, MemberWish

CORDONED = "eaves.dev/cordoned"
LABELS = "eaves.dev/labels"
ETCD_REMOVE = "etcd.k3s.cattle.io/remove"
ETCD_REMOVED = "etcd.k3s.cattle.io/removed-node-name"
ETCD_LIMIT_S = 60.0
"""A member that K3s does not take out within this time goes with its Node, which K3s treats alike."""

NODE_IDENTITY = ".node-password.k3s"
"""Of the Secret in kube-system by which K3s knows the machine that has a Node's name."""
_EDGENODE = "eaves.dev/edgenode"

Object = Mapping[str, Any]


class MemberPlan(Struct, frozen=True):
    """``patch``: merge patch of the Node; ``evict``: pods to ask away; ``delete``: delete the Node."""

    patch: Mapping[str, Any] | None = None
    evict: tuple[PodSeen, ...] = ()
    delete: bool = False
    is_drained: bool = False
    is_removed: bool = False
    waiting_for: str = ""


def plan_member(
    member: ClusterMember, node: Object | None, pods: Sequence[PodSeen], *, has_etcd: bool, removing_for_s: float = 0.0
) -> MemberPlan:
    """``node`` None = there is no such Node. ``removing_for_s``: since when its etcd member has been asked away."""
    if node is None:
        return MemberPlan(is_removed=True, is_drained=True)
    if member.want is MemberWish.REMOVED:
        return _plan_removal(node, has_etcd=has_etcd, removing_for_s=removing_for_s)
    if member.want is MemberWish.DRAINED:
        return _plan_drain(member, node, pods)
    return MemberPlan(_merge(_plan_uncordon(node), plan_labels(node, member.labels)))


def plan_labels(node: Object, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Set ours, drop those of ours that are no longer asked for; an annotation remembers which ones are ours."""
    metadata = node.get("metadata", {})
    have, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    before = {name for name in annotations.get(LABELS, "").split(",") if name}
    changes: dict[str, Any] = {name: value for name, value in labels.items() if have.get(name) != value}
    changes |= {name: None for name in before - labels.keys() if name in have}
    noted = ",".join(sorted(labels))
    if not changes and noted == annotations.get(LABELS, ""):
        return None
    return {"metadata": {"labels": changes, "annotations": {LABELS: noted or None}}}


def _plan_drain(member: ClusterMember, node: Object, pods: Sequence[PodSeen]) -> MemberPlan:
    patch = None
    if not node.get("spec", {}).get("unschedulable"):
        patch = {"metadata": {"annotations": {CORDONED: "true"}}, "spec": {"unschedulable": True}}
    left = list_evictable(pods, member.name)
    waiting = f"{len(left)} pods to leave, first {left[0].namespace}/{left[0].name}" if left else ""
    return MemberPlan(
        _merge(patch, plan_labels(node, member.labels)),
        tuple(pod for pod in left if not pod.is_ending) if patch is None else (),
        is_drained=patch is None and not left,
        waiting_for=waiting,
    )


def _plan_uncordon(node: Object) -> Mapping[str, Any] | None:
    if CORDONED not in node.get("metadata", {}).get("annotations", {}):
        return None
    return {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}


def _plan_removal(node: Object, *, has_etcd: bool, removing_for_s: float) -> MemberPlan:
    metadata = node.get("metadata", {})
    annotations = metadata.get("annotations", {})
    if not has_etcd or ETCD_LABEL not in metadata.get("labels", {}):
        return MemberPlan(delete=True)
    if annotations.get(ETCD_REMOVE) != "true":
        return MemberPlan({"metadata": {"annotations": {ETCD_REMOVE: "true"}}}, waiting_for="its etcd member to go")
    if annotations.get(ETCD_REMOVED) or removing_for_s >= ETCD_LIMIT_S:
        return MemberPlan(delete=True)
    return MemberPlan(waiting_for="its etcd member to go")


def list_vanished(nodes: Iterable[Object], members: Iterable[ClusterMember]) -> list[str]:
    """Nodes of former members that a snapshot brought back: they bear the leader's label, and the config does not know them.

    Nodes that others made are never among them.
    """
    known = {member.name for member in members}
    found = []
    for node in nodes:
        metadata = node.get("metadata", {})
        ours = metadata.get("annotations", {}).get(LABELS, "").split(",")
        if _EDGENODE in ours and metadata.get("name") not in known:
            found.append(str(metadata["name"]))
    return sorted(found)


def list_passwords(secrets: Iterable[Object]) -> list[str]:
    """Secrets by which K3s knows machines again, by name. A machine that is still the same makes its own anew."""
    names = (str(secret.get("metadata", {}).get("name", "")) for secret in secrets)
    return sorted(name for name in names if name.endswith(NODE_IDENTITY))


def _merge(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if first is None or second is None:
        return first if second is None else second
    merged = dict(first)
    for key, value in second.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged

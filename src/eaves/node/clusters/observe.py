"""Objects of the cluster's API → what is reported. Pure: the leader fetches, here is only reading."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from eaves.node.observed_cluster import AddOnStatus, KubeNodeStatus, MemberStatus, PodCount

Object = Mapping[str, Any]

SERVER_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
ETCD_LABEL = "node-role.kubernetes.io/etcd"
MIRROR = "kubernetes.io/config.mirror"
_FINISHED = ("Succeeded", "Failed")


class PodSeen(Struct, frozen=True):
    """As much of a pod as a drain must know."""

    namespace: str
    name: str
    node: str
    phase: str
    is_bound: bool = False
    """It belongs to the node itself: a mirror of a static pod, or of a DaemonSet."""
    is_ending: bool = False


class LeaderReport(Struct, frozen=True):
    """What a round saw."""

    nodes: tuple[KubeNodeStatus, ...] = ()
    pods: tuple[PodCount, ...] = ()
    members: tuple[MemberStatus, ...] = ()
    add_ons: tuple[AddOnStatus, ...] = ()
    etcd_members: int = 0
    problem: str = ""


def parse_time(text: object) -> float:
    """RFC 3339 → Unix seconds, 0 when it is none."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(str(text)).timestamp()
    return 0.0


def parse_node(node: Object, device_ids: Mapping[str, str]) -> KubeNodeStatus:
    """``device_ids``: Node's name → UUID of the device."""
    metadata, status = node.get("metadata", {}), node.get("status", {})
    labels = metadata.get("labels", {})
    addresses = {entry.get("type"): entry.get("address", "") for entry in reversed(status.get("addresses", []))}
    return KubeNodeStatus(
        name=metadata.get("name", ""),
        conditions={
            entry["type"]: (entry.get("status") == "True", parse_time(entry.get("lastTransitionTime")))
            for entry in status.get("conditions", [])
            if "type" in entry
        },
        is_server=any(label in labels for label in SERVER_LABELS),
        created_at=parse_time(metadata.get("creationTimestamp")),
        version=status.get("nodeInfo", {}).get("kubeletVersion", ""),
        internal_ip=addresses.get("InternalIP", ""),
        is_schedulable=not node.get("spec", {}).get("unschedulable", False),
        device_id=device_ids.get(metadata.get("name", ""), ""),
    )


def parse_pod(pod: Object) -> PodSeen:
    metadata = pod.get("metadata", {})
    owners = {owner.get("kind") for owner in metadata.get("ownerReferences", []) if owner.get("controller")}
    return PodSeen(
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        node=pod.get("spec", {}).get("nodeName", ""),
        phase=pod.get("status", {}).get("phase", ""),
        is_bound=MIRROR in metadata.get("annotations", {}) or "DaemonSet" in owners,
        is_ending="deletionTimestamp" in metadata,
    )


def count_pods(pods: Iterable[PodSeen]) -> tuple[PodCount, ...]:
    """By namespace."""
    found: dict[str, dict[str, int]] = {}
    for pod in pods:
        counts = found.setdefault(pod.namespace, {})
        for key in ("total", pod.phase):
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        PodCount(
            namespace,
            counts["total"],
            counts.get("Running", 0),
            counts.get("Pending", 0),
            counts.get("Failed", 0),
            counts.get("Succeeded", 0),
        )
        for namespace, counts in sorted(found.items())
    )


def list_evictable(pods: Iterable[PodSeen], node: str) -> list[PodSeen]:
    """Pods that a drain of ``node`` moves away: all but those bound to it and those that have finished."""
    return [pod for pod in pods if pod.node == node and not pod.is_bound and pod.phase not in _FINISHED]

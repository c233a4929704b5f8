"""What is read of the cluster's objects."""

from __future__ import annotations

from typing import Any

from eaves.node.clusters.observe import MIRROR, PodSeen, count_pods, parse_node, parse_pod

NODE: dict[str, Any] = {
    "metadata": {
        "name": "a",
        "labels": {"node-role.kubernetes.io/control-plane": "true"},
        "creationTimestamp": "2026-01-31T10:00:00Z",
    },
    "spec": {"unschedulable": True},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-31T10:00:05Z"},
            {"type": "DiskPressure", "status": "False"},
        ],
        "nodeInfo": {"kubeletVersion": "v1.34.2+k3s1"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"}],
    },
}


def test_a_node() -> None:
    found = parse_node(NODE, {"a": "device"})
    assert found.is_ready
    assert found.is_server
    assert not found.is_schedulable
    assert (found.version, found.internal_ip, found.device_id) == ("v1.34.2+k3s1", "10.0.0.1", "device")
    assert found.conditions["Ready"][1] - found.created_at == 5


def test_a_node_that_says_nothing_yet() -> None:
    found = parse_node({"metadata": {"name": "a"}}, {})
    assert not found.is_ready
    assert found.is_schedulable


def test_pods_of_a_node_s_own() -> None:
    mirror = {"metadata": {"name": "m", "namespace": "n", "annotations": {MIRROR: "x"}}}
    daemon = {
        "metadata": {"name": "d", "namespace": "n", "ownerReferences": [{"kind": "DaemonSet", "controller": True}]}
    }
    plain = {"metadata": {"name": "p", "namespace": "n", "deletionTimestamp": "now"}, "spec": {"nodeName": "a"}}
    assert parse_pod(mirror).is_bound
    assert parse_pod(daemon).is_bound
    assert not parse_pod(plain).is_bound
    assert parse_pod(plain).is_ending


def test_pods_are_counted_by_namespace_and_phase() -> None:
    pods = [PodSeen("b", "1", "", "Running"), PodSeen("a", "2", "", "Pending"), PodSeen("b", "3", "", "Failed")]
    first, second = count_pods(pods)
    assert (first.namespace, first.total, first.pending) == ("a", 1, 1)
    assert (second.namespace, second.total, second.running, second.failed) == ("b", 2, 1, 1)

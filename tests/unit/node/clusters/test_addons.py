"""Manifests in K3s's folder, and how what they name stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.clusters.addons import ObjectKey, judge_object, parse_objects, place
from eaves.node.clusters.model import ClusterFolders
from eaves.node.desired.cluster_model import ClusterAddOn

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"


def test_objects_of_a_manifest() -> None:
    keys = parse_objects(f"{MAP}---\n# nothing\n---\n{DEPLOYMENT}")
    assert keys == [ObjectKey("v1", "ConfigMap", "shop", "a"), ObjectKey("apps/v1", "Deployment", "", "web")]
    assert [str(key) for key in keys] == ["ConfigMap shop/a", "Deployment web"]


def test_lists_are_unpacked_and_nonsense_is_nothing() -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n"
    assert parse_objects(listed) == [ObjectKey("v1", "Secret", "", "s")]
    assert parse_objects("a: [") == []
    assert parse_objects("just text") == []


def test_files_follow_the_config_and_those_of_others_stay(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path / "run")
    folders.manifests.mkdir(parents=True)
    packaged = folders.manifests / "coredns.yaml"
    packaged.write_text("k3s's own")
    place(folders, [ClusterAddOn("a", "1", MAP), ClusterAddOn("b", "2", DEPLOYMENT), ClusterAddOn("c", "3", MAP)])
    # One that is to go is named without a manifest, or not at all.
    place(folders, [ClusterAddOn("a", "4", DEPLOYMENT), ClusterAddOn("b", "", "")])
    assert {path.name for path in folders.manifests.iterdir()} == {"coredns.yaml", "eaves-a.yaml"}
    assert packaged.read_text() == "k3s's own"
    assert (folders.manifests / "eaves-a.yaml").read_text() == DEPLOYMENT


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"kind": "ConfigMap"}, ""),
        ({"kind": "Deployment", "spec": {"replicas": 2}, "status": {"readyReplicas": 1}}, "has 1 of 2 pods ready"),
        ({"kind": "Deployment", "spec": {"replicas": 2}, "status": {"readyReplicas": 2}}, ""),
        (
            {"kind": "Deployment", "metadata": {"generation": 2}, "status": {"observedGeneration": 1}},
            "has not been looked at yet",
        ),
        ({"kind": "DaemonSet", "status": {"desiredNumberScheduled": 3, "numberReady": 2}}, "has 2 of 3 pods ready"),
        ({"kind": "Job", "status": {}}, "has not finished"),
        ({"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, ""),
        (
            {"kind": "Job", "status": {"conditions": [{"type": "Failed", "status": "True", "message": "no chart"}]}},
            "failed: no chart",
        ),
    ],
)
def test_readiness_of_workloads(found: dict[str, object], expected: str) -> None:
    assert judge_object(found) == expected

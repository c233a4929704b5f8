"""Manifests in K3s's folder, and what to delete when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.clusters.addons import ObjectKey, judge_object, list_leaving, list_surplus, parse_objects, place
from eaves.node.clusters.model import ClusterFolders
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

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


def test_what_only_former_manifests_name_goes_the_last_first() -> None:
    surplus = list_surplus([f"{MAP}---\n{DEPLOYMENT}", MAP], [])
    assert [key.kind for key in surplus] == ["ConfigMap", "Deployment"]
    assert list_surplus([f"{MAP}---\n{DEPLOYMENT}"], [MAP]) == [ObjectKey("apps/v1", "Deployment", "", "web")]


def test_files_follow_the_config_and_former_ones_are_kept_for_the_leader(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path / "run")
    folders.manifests.mkdir(parents=True)
    packaged = folders.manifests / "coredns.yaml"
    packaged.write_text("k3s's own")
    place(folders, [ClusterAddOn("a", "1", MAP), ClusterAddOn("b", "2", DEPLOYMENT)], is_leader=True)
    place(folders, [ClusterAddOn("a", "3", DEPLOYMENT)], is_leader=True)
    assert {path.name for path in folders.manifests.iterdir()} == {"coredns.yaml", "eaves-a.yaml"}
    assert packaged.read_text() == "k3s's own"
    assert (folders.manifests / "eaves-a.yaml").read_text() == DEPLOYMENT
    former = sorted(path.read_text() for path in folders.former_add_ons.iterdir())
    assert former == sorted([MAP, DEPLOYMENT])


def test_what_is_to_go_is_told_of_while_its_manifest_is_here(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path / "run")
    wanted = [ClusterAddOn("a", "1", MAP), ClusterAddOn("b-2", "2", DEPLOYMENT)]
    place(folders, wanted, is_leader=True)
    (folders.manifests / "coredns.yaml").write_text("k3s's own")
    assert list_leaving(folders, wanted, "") == []
    # Before the folder follows the config, and after.
    expected = [AddOnStatus("b-2", "", AddOnState.REMOVING, "waits for Deployment web to go")]
    assert list_leaving(folders, wanted[:1], "Deployment web to go") == expected
    place(folders, wanted[:1], is_leader=True)
    assert list_leaving(folders, wanted[:1], "Deployment web to go") == expected
    for path in folders.former_add_ons.iterdir():
        path.unlink()
    assert list_leaving(folders, wanted[:1], "") == []


def test_who_does_not_lead_keeps_no_former_ones(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path / "run")
    place(folders, [ClusterAddOn("a", "1", MAP)], is_leader=False)
    place(folders, [], is_leader=False)
    assert not folders.former_add_ons.exists()


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

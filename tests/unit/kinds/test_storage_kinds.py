"""Volume and Datastore."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds import datastore, volume, volumesnapshot
from eaves.kinds.deletion import deletion_fault
from eaves.testing.objects import make_datastore, make_volume, make_volume_snapshot

DIGEST = "sha256:" + "ab" * 32
DISK_IMAGE = {"image": f"seed.img@{DIGEST}", "format": "Raw", "datastoreRef": {"name": "files"}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"size": "10"}, ["spec.size"]),
        ({"nodeName": "A"}, ["spec.nodeName"]),
        ({"source": {"image": "shop/seed:1"}}, []),
        ({"source": {"image": "Seed"}}, ["spec.source.image"]),
        ({"source": {"image": "seed.img", "format": "Raw"}}, ["spec.source.datastoreRef"]),
        ({"source": {"image": "registry.example/disks/seed:1", "format": "Qcow2"}}, []),
        ({"source": {"image": "disks/seed:1", "format": "Qcow2", "datastoreRef": {"name": "shop"}}}, []),
        ({"source": {"image": "../x", "format": "Raw", "datastoreRef": {"name": "files"}}}, ["spec.source.image"]),
        (
            {"source": {"image": "x.img@sha256:1", "format": "Raw", "datastoreRef": {"name": "f"}}},
            ["spec.source.image"],
        ),
        ({"source": {"image": f"seed.img@{DIGEST}", "format": "Raw"}}, ["spec.source.datastoreRef"]),
        ({"source": DISK_IMAGE}, []),
        ({"source": {}}, ["spec.source"]),
        ({"source": {"image": "seed", "volumeName": "other"}}, ["spec.source"]),
        ({"source": {"volumeName": "other"}}, []),
        ({"source": {"snapshotName": "daily"}}, []),
        ({"source": {"volumeName": "data"}}, ["spec.source.volumeName"]),
        ({"source": {"volumeName": "a/b"}}, ["spec.source.volumeName"]),
        ({"source": {"snapshotName": "a/b"}}, ["spec.source.snapshotName"]),
        (
            {"source": {"volumeName": "other", "format": "Raw", "datastoreRef": {"name": "files"}}},
            ["spec.source.datastoreRef", "spec.source.format"],
        ),
        ({"mode": "Block", "format": "Raw"}, []),
        ({"format": "Raw"}, ["spec.format"]),
        ({"source": DISK_IMAGE, "format": "Raw"}, []),
        ({"source": DISK_IMAGE, "mode": "Filesystem"}, ["spec.mode"]),
        ({"source": {"image": "seed"}, "mode": "Block"}, ["spec.mode"]),
        ({"source": DISK_IMAGE, "mode": "File"}, []),
        ({"mode": "File"}, ["spec.source.image"]),
        ({"source": {"image": "seed"}, "mode": "File"}, ["spec.source.format"]),
        ({"source": {"volumeName": "other"}, "mode": "File"}, ["spec.source.image"]),
        ({"source": DISK_IMAGE, "mode": "File", "format": "Raw"}, ["spec.format"]),
        ({"source": DISK_IMAGE, "mode": "File", "access": "ReadWriteMany"}, ["spec.access"]),
        (
            {"source": DISK_IMAGE, "mode": "File", "rollback": {"snapshotName": "daily", "counter": 1}},
            ["spec.rollback"],
        ),
        ({"access": "ReadWriteMany"}, []),
        ({"access": "ReadWriteMany", "readOnly": True}, ["spec.access"]),
        ({"rollback": {"snapshotName": "a/b", "counter": 1}}, ["spec.rollback.snapshotName"]),
    ],
)
def test_faults_of_volumes(spec: dict[str, Any], expected: list[str]) -> None:
    assert [fault.path for fault in volume.RESOURCE.validate(make_volume(**spec), None)] == expected


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"size": "2Gi"}, []),
        ({"size": "512Mi"}, ["spec.size"]),
        ({"nodeName": "other"}, ["spec.nodeName"]),
        ({"source": {"image": "seed"}}, ["spec.source"]),
        ({"encryption": "None"}, ["spec.encryption"]),
        ({"reclaimPolicy": "Retain"}, []),
        ({"access": "ReadWriteMany"}, []),
        ({"mode": "Filesystem"}, []),
        ({"mode": "Block"}, ["spec.mode"]),
        ({"mode": "Block", "format": "Raw"}, ["spec.mode", "spec.format"]),
        ({"rollback": {"snapshotName": "daily", "counter": 1}}, []),
    ],
)
def test_what_of_a_volume_may_change(new: dict[str, Any], expected: list[str]) -> None:
    assert [fault.path for fault in volume.RESOURCE.validate(make_volume(**new), make_volume())] == expected


def test_a_rollback_is_never_asked_for_backwards() -> None:
    new = make_volume(rollback={"snapshotName": "daily", "counter": 1})
    old = make_volume(rollback={"snapshotName": "daily", "counter": 2})
    assert [fault.path for fault in volume.RESOURCE.validate(new, old)] == ["spec.rollback.counter"]
    assert volume.RESOURCE.validate(old, new) == []


def test_snapshots_of_volumes() -> None:
    check = volumesnapshot.RESOURCE.validate
    assert check(make_volume_snapshot(), None) == []
    assert [fault.path for fault in check(make_volume_snapshot(volumeName="a/b"), None)] == ["spec.volumeName"]
    moved = check(make_volume_snapshot(volumeName="other"), make_volume_snapshot())
    assert [fault.path for fault in moved] == ["spec.volumeName"]
    assert deletion_fault(volumesnapshot.RESOURCE, make_volume_snapshot()) == ""
    assert "retain" in deletion_fault(volumesnapshot.RESOURCE, make_volume_snapshot(retain=True))


def test_a_retained_volume_cannot_be_deleted() -> None:
    assert deletion_fault(volume.RESOURCE, make_volume()) == ""
    assert "Retain" in deletion_fault(volume.RESOURCE, make_volume(reclaimPolicy="Retain"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"url": "registry.example:5000"}, []),
        ({"url": "http://10.0.0.5:5000", "path": "shop"}, []),
        ({"url": "docker://docker.io", "credentialsSecretRef": {"name": "hub"}}, []),
        ({"url": "ftp://x"}, ["spec.url"]),
        ({"url": "user:secret@registry.example"}, ["spec.url"]),
        ({"url": "registry.example:99999"}, ["spec.url"]),
        ({"url": "registry example"}, ["spec.url"]),
        ({"url": "https://x/?a=b", "type": "HTTP"}, ["spec.url"]),
        ({"path": "/shop"}, ["spec.path"]),
        ({"region": "eu"}, ["spec.region"]),
        ({"type": "S3", "url": "https://s3.example"}, ["spec.path"]),
        ({"caCertificates": "nonsense"}, ["spec.caCertificates"]),
        ({"addressing": "Path"}, ["spec.addressing"]),
        ({"type": "S3", "url": "s3.example", "path": "b", "addressing": "VirtualHost"}, []),
        ({"mirrors": [{"url": "http://10.0.0.5:5000"}, {"url": "mirror.lan", "path": "cache"}]}, []),
        ({"mirrors": [{"url": "ftp://x"}]}, ["spec.mirrors[0].url"]),
        ({"mirrors": [{"url": "x"}, {"url": "x", "path": "../y"}]}, ["spec.mirrors[1].path"]),
        ({"type": "S3", "url": "s3.example", "path": "b", "mirrors": [{"url": "x"}]}, ["spec.mirrors[0].path"]),
        ({"mirrors": [{"url": "x", "caCertificates": "nonsense"}]}, ["spec.mirrors[0].caCertificates"]),
        ({"fallbackDatastoreRefs": [{"name": "ok"}, {"name": "Not Ok"}]}, ["spec.fallbackDatastoreRefs[1].name"]),
        ({"caCertificates": "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"}, ["spec.caCertificates"]),
    ],
)
def test_faults_of_datastores(spec: dict[str, Any], expected: list[str]) -> None:
    assert [fault.path for fault in datastore.RESOURCE.validate(make_datastore(**spec), None)] == expected


def test_a_password_in_a_url_is_not_repeated() -> None:
    faults = datastore.RESOURCE.validate(make_datastore(url="user:hunter2@registry.example"), None)
    assert "hunter2" not in repr(faults)

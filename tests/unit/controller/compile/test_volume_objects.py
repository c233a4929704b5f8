"""Volume objects in a config: what they are made from, their snapshots, and that none is ever lost."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.compile.identifiers import source_tree_id
from eaves.controller.compile.model import CompiledConfig, Effect, NodeInputs, ObjectKey
from eaves.controller.compile.node import compile_node
from eaves.kinds import volume as volume_kind
from eaves.kube.resource import Object
from eaves.testing.objects import (
    make_app,
    make_datastore,
    make_edgenode,
    make_network,
    make_vm,
    make_volume,
    make_volume_snapshot,
    uid_of,
)
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.storage_pb2 import Volume

DIGEST = "sha256:" + "ab" * 32
DISK_IMAGE = {"image": f"seed.img@{DIGEST}", "format": "Raw", "datastoreRef": {"name": "files"}}
DATA_ID = uid_of("Volume", "data")
EVE = {"status": {"versions": {"eaves": "", "eve": "14.5.0"}}}


def compile_all(*volumes: Object, snapshots: tuple[Object, ...] = (), **given: Any) -> CompiledConfig:
    fields: dict[str, Any] = {"edgenode": make_edgenode(), "networks": [make_network()], **given}
    return compile_node(NodeInputs(volumes=volumes, volume_snapshots=snapshots, **fields))


def find(result: CompiledConfig, name: str = "data") -> Volume:
    return next(found for found in result.config.volumes if found.uuid == uid_of("Volume", name))


def reasons(result: CompiledConfig) -> list[str]:
    assert all(problem.effect is not Effect.OMITTED for problem in result.problems)
    return [problem.reason for problem in result.problems]


@pytest.mark.parametrize(
    ("spec", "mode", "disk_format", "shared"),
    [
        ({}, "Filesystem", "", False),
        ({"mode": "Block"}, "Block", "", False),
        ({"mode": "Block", "format": "Raw", "access": "ReadWriteMany"}, "Block", "Raw", True),
        ({"source": {"image": "shop/seed:1"}}, "Filesystem", "", False),
    ],
)
def test_the_extension_says_what_the_device_api_has_no_words_for(
    spec: dict[str, Any], mode: str, disk_format: str, shared: bool
) -> None:
    result = compile_all(make_volume(**spec))
    assert reasons(result) == []
    found = find(result).eaves
    assert (found.mode, found.format, found.shared) == (mode, disk_format, shared)


def test_disk_from_an_image_names_its_content_tree() -> None:
    made = make_volume(source=DISK_IMAGE)
    result = compile_all(made, datastores=[make_datastore("files", url="https://files.example", type="HTTP")])
    assert reasons(result) == []
    found = find(result)
    assert (found.eaves.mode, found.origin.type) == ("Block", storage_pb2.VCOT_DOWNLOAD)
    assert found.origin.downloadContentTreeID == source_tree_id(volume_kind.decode(made))
    assert [tree.uuid for tree in result.config.contentInfo] == [found.origin.downloadContentTreeID]


def test_copies_name_the_volume_or_its_snapshot_and_have_its_mode() -> None:
    result = compile_all(
        make_volume(mode="Block"),
        make_volume("copy", source={"volumeName": "data"}),
        make_volume("old", source={"snapshotName": "daily"}),
        make_volume("chain", source={"volumeName": "copy"}),
        snapshots=(make_volume_snapshot("daily"),),
    )
    assert reasons(result) == []
    copy, old, chain = (find(result, name).eaves for name in ("copy", "old", "chain"))
    assert (copy.source_volume, copy.source_snapshot, copy.mode) == (DATA_ID, "", "Block")
    assert (old.source_volume, old.source_snapshot) == (DATA_ID, uid_of("VolumeSnapshot", "daily"))
    assert (chain.source_volume, chain.mode) == (uid_of("Volume", "copy"), "Block")


def test_a_ring_of_copies_ends() -> None:
    result = compile_all(make_volume(source={"volumeName": "b"}), make_volume("b", source={"volumeName": "data"}))
    assert find(result).eaves.mode == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (DISK_IMAGE, "DatastoreNotFound"),
        ({"volumeName": "gone"}, "VolumeNotFound"),
        ({"snapshotName": "gone"}, "VolumeSnapshotNotFound"),
        ({"volumeName": "far"}, "VolumeElsewhere"),
    ],
)
def test_a_volume_stays_in_the_config_when_its_source_is_gone(source: dict[str, Any], reason: str) -> None:
    far = make_volume("far", nodeName="store-18")
    result = compile_all(make_volume(source=source), far)
    assert reasons(result) == [reason]
    found = find(result)
    # Neither is it ever taken for a blank one.
    assert found.eaves.source_volume or found.origin.type == storage_pb2.VCOT_DOWNLOAD
    assert ObjectKey("Volume", "default", "data") in result.touched


def test_a_node_that_is_not_approved_keeps_the_volume_and_gets_no_image() -> None:
    node = make_edgenode(approved=False)
    result = compile_all(make_volume(source=DISK_IMAGE), edgenode=node, datastores=[make_datastore("files")])
    assert find(result).origin.type == storage_pb2.VCOT_DOWNLOAD
    assert not result.config.contentInfo


def test_snapshots_and_the_order_to_go_back() -> None:
    result = compile_all(
        make_volume(rollback={"snapshotName": "daily", "counter": 4}),
        snapshots=(
            make_volume_snapshot("weekly"),
            make_volume_snapshot("daily"),
            make_volume_snapshot("other", volumeName="other"),
            make_volume_snapshot("gone", metadata={"deletionTimestamp": "2026-11-25T00:00:00Z"}),
        ),
    )
    assert reasons(result) == []
    found = find(result).eaves
    assert [(snapshot.name, snapshot.id) for snapshot in found.snapshots] == [
        (name, uid_of("VolumeSnapshot", name)) for name in ("daily", "weekly")
    ]
    assert (found.rollback_snapshot, found.rollback_counter) == (uid_of("VolumeSnapshot", "daily"), 4)


def test_going_back_to_a_snapshot_that_is_gone_deletes_none_of_the_others() -> None:
    wish = make_volume(rollback={"snapshotName": "gone", "counter": 1})
    result = compile_all(wish, snapshots=(make_volume_snapshot("daily"),))
    assert reasons(result) == ["VolumeSnapshotNotFound"]
    assert len(find(result).eaves.snapshots) == 1
    assert find(result).eaves.rollback_counter == 0


def test_an_object_that_cannot_be_read_stays_as_it_was() -> None:
    before = compile_all(make_volume())
    result = compile_all(make_volume(size={}), previous=before.config)
    assert reasons(result) == ["Unreadable"]
    assert find(result) == find(before)


def test_containers_have_filesystems_and_machines_have_disks() -> None:
    def mount(make: Any, name: str) -> Object:
        volumes = [{"name": "v", "volumeName": name} | ({"mountPath": "/v"} if make is make_app else {})]
        made: Object = make(volumes=volumes)
        return made

    volumes = (make_volume("disk", mode="Block"), make_volume("files"))
    assert compile_all(*volumes, apps=[mount(make_app, "files")]).problems == ()
    assert [p.reason for p in compile_all(*volumes, apps=[mount(make_app, "disk")]).problems] == ["VolumeIsDisk"]
    assert [p.reason for p in compile_all(*volumes, apps=[mount(make_vm, "files")]).problems] == ["VolumeIsNoDisk"]


def test_the_root_disk_of_a_machine_that_is_held_back_stays() -> None:
    volumes = [{"name": "v", "volumeName": "none"}]
    sound, held = compile_all(apps=[make_vm()]), compile_all(apps=[make_vm(volumes=volumes)])
    assert [problem.reason for problem in held.problems] == ["VolumeNotFound"]
    assert not held.config.apps
    assert [found.uuid for found in held.config.volumes] == [sound.config.apps[0].volumeRefList[0].uuid]

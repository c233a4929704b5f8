"""Snapshots of machines are handed down to their disks."""

from __future__ import annotations

from eaves.node.desired.model import DesiredNode, DesiredVolume
from eaves.node.desired.parse import parse_config
from eaves.testing.device_configs import DATA_ID, ROOT_ID, want_config, want_vm_config
from eaves.wire.pb.config import appconfig_pb2
from eaves.wire.pb.config.appconfig_pb2 import SnapshotDesc
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.eaves.extension_pb2 import SnapshotDescExtension
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock

FIRST, SECOND = (f"80000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


def no_key(_: CipherBlock) -> bytes:
    return b""


def parse(config: EdgeDevConfig) -> DesiredNode:
    return parse_config(config, "hash", no_key)


def with_snapshots(**fields: object) -> EdgeDevConfig:
    config = want_vm_config()
    snapshot = config.apps[0].snapshot
    snapshot.active_snapshot, snapshot.rollback_cmd.counter = FIRST, 2
    extension = SnapshotDescExtension(name="before")
    kind = appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE
    snapshot.snapshots.append(SnapshotDesc(id=FIRST, type=kind, eaves=extension))
    if fields:
        snapshot.snapshots.append(SnapshotDesc(id=SECOND, **fields))  # type: ignore[arg-type]  # a case of a test
    return config


def by_id(node: DesiredNode) -> dict[str, DesiredVolume]:
    return {volume.id: volume for volume in node.volumes}


def test_every_disk_of_the_machine_has_them_and_the_order_to_go_back() -> None:
    node = parse(with_snapshots())
    for volume_id in (ROOT_ID, DATA_ID):
        volume = by_id(node)[volume_id]
        assert [(wish.id, wish.name) for wish in volume.snapshots] == [(FIRST, "before")]
        assert volume.rollback is not None
        assert (volume.rollback.snapshot_id, volume.rollback.counter) == (FIRST, 2)
    assert node.apps[0].vm is not None
    assert [disk.has_snapshots for disk in node.apps[0].vm.disks] == [True, True]


def test_an_order_is_there_before_the_first_snapshot_so_that_a_later_one_differs() -> None:
    volume = by_id(parse(want_vm_config()))[ROOT_ID]
    assert volume.rollback is not None
    assert (volume.rollback.snapshot_id, volume.rollback.counter) == ("", 0)


def test_a_volume_object_keeps_snapshots_of_its_own() -> None:
    config = with_snapshots()
    config.volumes[1].eaves.mode = "Block"
    node = parse(config)
    assert by_id(node)[DATA_ID].snapshots == ()
    assert node.apps[0].vm is not None
    assert [disk.has_snapshots for disk in node.apps[0].vm.disks] == [True, False]


def test_disks_of_one_machine_have_theirs_at_one_moment_the_root_first() -> None:
    at_update = with_snapshots(type=appconfig_pb2.SNAPSHOT_TYPE_APP_UPDATE)
    at_update.apps[0].snapshot.max_snapshots = 5
    volume = by_id(parse(at_update))[DATA_ID]
    first, second = (wish.of for wish in volume.snapshots)
    assert first is not None
    assert second is not None
    assert [member[0] for member in first.members] == [ROOT_ID, DATA_ID]
    assert (first.with_memory, first.at_update, second.at_update) == (False, False, True)
    assert volume.snapshots_limit == 5
    assert volume.rollback is not None
    assert volume.rollback.of == first


def test_memory_is_not_saved_where_it_would_not_fit_the_disks() -> None:
    kind = appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE
    extension = SnapshotDescExtension(with_memory=True)
    possible = with_snapshots(type=kind, eaves=extension)
    foreign = with_snapshots(type=kind, eaves=extension)
    foreign.volumes[1].eaves.mode = "Block"
    at_update = with_snapshots(type=appconfig_pb2.SNAPSHOT_TYPE_APP_UPDATE, eaves=extension)
    problems = [by_id(parse(config))[ROOT_ID].snapshots[1].of for config in (possible, foreign, at_update)]
    texts = [found.problem if found is not None else None for found in problems]
    assert texts[0] == ""
    assert "snapshots of its own" in (texts[1] or "")
    assert "has stopped" in (texts[2] or "")


def test_a_container_hands_them_down_to_what_it_mounts_itself() -> None:
    config = want_config()
    config.apps[0].snapshot.snapshots.append(SnapshotDesc(id=FIRST, type=appconfig_pb2.SNAPSHOT_TYPE_APP_UPDATE))
    node = parse(config)
    (app,) = node.apps
    assert app.snapshots.volumes == tuple(sorted(mount.volume_id for mount in app.mounts))
    for volume_id in app.snapshots.volumes:
        (wish,) = by_id(node)[volume_id].snapshots
        assert wish.of is not None
        assert (wish.id, wish.of.at_update, wish.of.app_id) == (FIRST, True, app.id)
    assert by_id(node)[app.root_volume_id].snapshots == (), "the root is made anew from the image"
    config.volumes[1].eaves.mode = "Filesystem"
    assert parse(config).apps[0].snapshots.volumes == (), "a Volume object has snapshots of its own"


def test_memory_of_a_container_is_not_saved() -> None:
    config = want_config()
    extension = SnapshotDescExtension(with_memory=True)
    config.apps[0].snapshot.snapshots.append(
        SnapshotDesc(id=FIRST, type=appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE, eaves=extension)
    )
    node = parse(config)
    (wish,) = by_id(node)[node.apps[0].mounts[0].volume_id].snapshots
    assert wish.of is not None
    assert "container" in wish.of.problem

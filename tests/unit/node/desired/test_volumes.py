"""Volumes of a config: what other controllers say, and what Eaves adds."""

from __future__ import annotations

import pytest

from eaves.node.desired.model import (
    DesiredNode,
    DesiredVolume,
    DiskFormat,
    VolumeMode,
    VolumeRollback,
    VolumeSnapshotWish,
)
from eaves.node.desired.parse import parse_config
from eaves.testing.device_configs import DATA_ID, want_config, want_vm_config
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.storage_pb2 import Volume
from eaves.wire.pb.eaves.extension_pb2 import VolumeExtension, VolumeSnapshotConfig

OTHER_ID = "30000000-0000-4000-8000-0000000000AA"
SNAPSHOT_ID = "80000000-0000-4000-8000-000000000001"


def parse(config: EdgeDevConfig) -> DesiredNode:
    return parse_config(config, "hash-1", lambda _: b"")


def parse_volume(extension: VolumeExtension | None = None, **fields: object) -> DesiredVolume:
    config = want_config()
    config.volumes.append(Volume(uuid=OTHER_ID, displayName="other", maxsizebytes=1 << 20, eaves=extension, **fields))  # type: ignore[arg-type]
    return next(volume for volume in parse(config).volumes if volume.id == OTHER_ID.lower())


def test_volume_of_another_controller_says_nothing_that_only_eaves_knows() -> None:
    found = parse_volume()
    assert found == DesiredVolume(OTHER_ID.lower(), 0, "other", "", 1 << 20)
    assert (found.mode, found.is_explicit, found.rollback) == (VolumeMode.FILESYSTEM, False, None)


def test_every_field_of_the_extension_arrives() -> None:
    found = parse_volume(
        VolumeExtension(
            mode="Block",
            format="Raw",
            shared=True,
            source_volume=DATA_ID.upper(),
            source_snapshot=SNAPSHOT_ID.upper(),
            snapshots=[VolumeSnapshotConfig(id=SNAPSHOT_ID.upper(), name="daily")],
            rollback_snapshot=SNAPSHOT_ID,
            rollback_counter=3,
        ),
        clear_text=True,
        readonly=True,
    )
    assert found == DesiredVolume(
        OTHER_ID.lower(),
        0,
        "other",
        "",
        1 << 20,
        read_only=True,
        mode=VolumeMode.BLOCK,
        is_explicit=True,
        format=DiskFormat.RAW,
        clear_text=True,
        is_shared=True,
        copy_of=DATA_ID,
        copy_of_snapshot=SNAPSHOT_ID,
        snapshots=(VolumeSnapshotWish(SNAPSHOT_ID, "daily"),),
        rollback=VolumeRollback(SNAPSHOT_ID, 3),
    )


def test_words_of_a_later_version_count_as_not_said() -> None:
    found = parse_volume(VolumeExtension(mode="Object", format="Vdi"))
    assert (found.mode, found.is_explicit, found.format) == (VolumeMode.FILESYSTEM, False, DiskFormat.QCOW2)


@pytest.mark.parametrize("bad", ["", "../etc", "a/b", "x" * 65])
def test_snapshot_whose_id_is_no_name_of_a_file_is_left_out(bad: str) -> None:
    assert parse_volume(VolumeExtension(snapshots=[VolumeSnapshotConfig(id=bad)])).snapshots == ()


def test_content_for_the_metadata_server_stays_as_it_is() -> None:
    assert parse_volume(target=storage_pb2.AppCustom).format is DiskFormat.RAW


def test_filesystem_volume_is_no_disk_of_a_machine() -> None:
    config = want_vm_config()
    for volume in config.volumes:
        volume.eaves.mode = "Filesystem" if volume.uuid == DATA_ID else ""
    found = parse(config)
    assert found.apps == ()
    assert [problem.code for problem in found.problems] == ["VolumeModeMismatch"]
    assert "mode Block" in found.problems[0].resolution


def test_block_volume_is_nothing_that_a_container_mounts() -> None:
    config = want_config()
    for volume in config.volumes:
        volume.eaves.mode = "Block" if volume.uuid == DATA_ID else ""
    found = parse(config)
    assert found.apps == ()
    assert [problem.code for problem in found.problems] == ["VolumeModeMismatch"]
